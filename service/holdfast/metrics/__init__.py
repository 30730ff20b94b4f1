"""Counters as plain slots, written as Prometheus text at scrape.

Open ``family`` to count something, ``exposition`` to see how it is printed.
"""

from holdfast.metrics.exposition import CONTENT_TYPE, Printable, Registry
from holdfast.metrics.family import Cell, Counter, Distribution, Gauge, Histogram, Sample

__all__ = ["CONTENT_TYPE", "Cell", "Counter", "Distribution", "Gauge", "Histogram", "Printable", "Registry", "Sample"]
