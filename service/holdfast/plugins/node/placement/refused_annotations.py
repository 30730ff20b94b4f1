"""The refused annotations of pods: reported once a pod, as an event, in the log and as a metric."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from holdfast import log
from holdfast.metrics import Counter
from holdfast.node.model.placement import Happening, Report
from holdfast.node.rule.annotation import BY_ANNOTATION, PREFIX, AdmissionTable, Ask, asks_of, shown
from holdfast.pods.cgroup_path import PodRef
from holdfast.pods.record import PodRecord

LOG = log.named(__name__)
REMEMBERED = 16_384  # pods; then all may be reported once more
MOST_TOLD = 8  # of one pod, one by one: its author writes as many as the API server takes
_KEYS = frozenset({"oom-score-adj", "memory-oom-group", "protect"})


class RefusedAnnotations:
    """Checks each pod once, and all pods when the admission table is new. On one thread."""

    def __init__(
        self, report: Callable[[Report], None], record: Callable[[PodRecord, tuple[Ask, ...]], None] | None = None
    ) -> None:
        """``record`` receives a pod with its refused annotations, `MOST_TOLD` at most."""
        self.refused = Counter(
            "holdfast_placement_annotations_refused_total", "Annotations of pods that were not allowed.", ("key",)
        )
        self._report, self._record = report, record
        self._table = AdmissionTable()
        self._told: dict[str, tuple[Ask, ...]] = {}

    def set_table(self, table: AdmissionTable, pods: Iterable[PodRecord]) -> None:
        """Check every pod by this table."""
        if table != self._table:
            self._table = table
            self._told.clear()
        for pod in pods:
            self.check_pod(pod)

    def check_pod(self, pod: PodRecord) -> None:
        """Report the annotations that this pod is refused, unless they were reported."""
        refused = tuple(ask for ask in asks_of(pod.namespace, pod.annotations, self._table) if ask.refused)
        if not refused or self._told.get(pod.uid) == refused:
            return
        if len(self._told) >= REMEMBERED:
            self._told.clear()
        self._told[pod.uid] = refused
        for ask in refused:
            kind = ask.key.partition(".")[0]
            self.refused.inc(kind if kind in _KEYS else "other")
        for ask in refused[:MOST_TOLD]:
            self._tell(pod, f"{PREFIX}{ask.key}: {shown(ask.value)}: {ask.refused}")
        if len(refused) > MOST_TOLD:
            self._tell(pod, f"{len(refused) - MOST_TOLD} further annotations are refused")
        if self._record is not None:
            self._record(pod, refused[:MOST_TOLD])

    def _tell(self, pod: PodRecord, detail: str) -> None:
        LOG.warning("an annotation is refused", pod=f"{pod.namespace}/{pod.name}", detail=detail)
        named = PodRef(pod.uid, "", namespace=pod.namespace, name=pod.name)
        self._report(Report(Happening.REFUSED, 0, 0, "", BY_ANNOTATION, (), detail, time.time_ns(), named))
