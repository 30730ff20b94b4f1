"""Metrics of the pods' directory, for Prometheus. No label names a pod: there are too many, and they come and go."""

from __future__ import annotations

from holdfast.metrics import Counter, Gauge, Histogram, MetricGroup
from holdfast.pods.directory import Directory

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)


class PodMetrics(MetricGroup):
    """The metric families."""

    def __init__(self, directory: Directory) -> None:
        self.known = Gauge(
            "holdfast_pods_known",
            "Pod sandboxes and containers the directory knows.",
            ("kind",),
            read=lambda: [((kind,), size) for kind, size in zip(("pods", "containers"), directory.sizes, strict=True)],
        )
        self.missed = Counter(
            "holdfast_pods_missed_total",
            "Questions for a container that was not known (yet).",
            read=lambda: [((), directory.missed)],
        )
        self.refused = Counter(
            "holdfast_pods_refused_total",
            "Pods and containers not taken in: the bound was reached.",
            read=lambda: [((), directory.refused)],
        )
        self.cut = Gauge(
            "holdfast_pods_values_cut",
            "Pods with more labels or annotations than are kept.",
            read=lambda: [((), sum(pod.cut for pod in directory.pods()))],
        )
        self.unasked = Counter(
            "holdfast_pods_unasked_total",
            "Containers not queried one by one: too many waited. The next list has them.",
        )
        self.connected = Gauge("holdfast_pods_runtime_connected", "1 while the container runtime answers over CRI.")
        self.relists = Counter("holdfast_pods_relists_total", "Whole lists asked of the runtime.", ("result",))
        self.relist_seconds = Histogram(
            "holdfast_pods_relist_seconds",
            "CPU time of the event loop that taking in a whole list cost.",
            bounds=SECONDS,
        )
        self.answer_seconds = Histogram(
            "holdfast_pods_answer_seconds", "From the first question for a container to its answer.", bounds=SECONDS
        )
        self.connected.set(0)
