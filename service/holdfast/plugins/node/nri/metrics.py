"""Metrics of the NRI plugin."""

from __future__ import annotations

import enum

from holdfast.metrics import Counter, Gauge, Histogram, MetricGroup

#: A runtime waits 2 s; a container start is some 100 ms.
_BOUNDS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0)


class CreationOutcome(enum.StrEnum):
    """The answer for a container about to be created."""

    NOTHING = "nothing"  # no rule changes a value of it
    ADJUSTED = "adjusted"
    DRY_RUN = "dry_run"
    LEFT_ALONE = "left_alone"  # an earlier one did not start with our values


class NriMetrics(MetricGroup):
    """The metric families."""

    def __init__(self) -> None:
        self.containers = Counter(
            "holdfast_nri_containers_total", "Containers about to be created, by what was answered.", ["outcome"]
        )
        for outcome in CreationOutcome:
            self.containers.labels(outcome)
        self.handler = Histogram(
            "holdfast_nri_handler_seconds", "Time to answer the runtime.", ["method"], bounds=_BOUNDS_S
        )
        self.failures = Counter(
            "holdfast_nri_failures_total", "Calls answered without changes because of an error.", ["method"]
        )
        self.connected = Gauge("holdfast_nri_connected", "Whether a runtime has us as its plugin.")
        self.connections = Counter("holdfast_nri_connections_total", "Registrations with a runtime that held.")
        self.synchronized = Gauge(
            "holdfast_nri_synchronized", "Objects that the last synchronisation reported.", ["object"]
        )
        self.left_out = Counter("holdfast_nri_left_out_total", "Pods and containers there was no room for.")
