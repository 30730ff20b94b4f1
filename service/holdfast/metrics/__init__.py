"""Counters as plain slots, written as Prometheus text at scrape.

- `family`: the counters
- `exposition`, `text`: the text of a scrape, and its tokens
- `process`: the metrics of our own process
"""

from holdfast.metrics.exposition import CONTENT_TYPE, OPENMETRICS_TYPE, MetricGroup, Printable, Registry
from holdfast.metrics.family import Cell, Counter, Distribution, Gauge, Histogram

__all__ = [
    "CONTENT_TYPE",
    "OPENMETRICS_TYPE",
    "Cell",
    "Counter",
    "Distribution",
    "Gauge",
    "Histogram",
    "MetricGroup",
    "Printable",
    "Registry",
]
