"""Counters as plain slots, written as Prometheus text at scrape.

``family`` defines the counters, ``exposition`` prints them.
"""

from holdfast.metrics.exposition import CONTENT_TYPE, MetricGroup, Printable, Registry
from holdfast.metrics.family import Cell, Counter, Distribution, Gauge, Histogram

__all__ = [
    "CONTENT_TYPE",
    "Cell",
    "Counter",
    "Distribution",
    "Gauge",
    "Histogram",
    "MetricGroup",
    "Printable",
    "Registry",
]
