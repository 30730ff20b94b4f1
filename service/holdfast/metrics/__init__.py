"""Counters as plain slots, written as Prometheus text at scrape.

- `family`: the counters
- `exposition`, `text`: the text of a scrape, and its tokens
- `process`: the metrics of our own process
"""

from holdfast.metrics.exposition import CONTENT_TYPE, Printable, Registry
from holdfast.metrics.family import Cell, Counter, Distribution, Gauge, Histogram, Sample

__all__ = ["CONTENT_TYPE", "Cell", "Counter", "Distribution", "Gauge", "Histogram", "Printable", "Registry", "Sample"]
