"""Metrics of the node work, for Prometheus. Only the engine's thread writes them.

Labels are rules, reasons, cgroups with OOM kills and pods with processes under a rule: few, and bounded. A pod's labels
are not called ``namespace``, ``pod`` and ``container``: Prometheus uses these names for the daemon's own.
"""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterable

from holdfast.inert import valid
from holdfast.metrics import Counter, Gauge, Histogram, MetricGroup
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.placement import Placement
from holdfast.node.proc.pressure import Pressure

Lines = Iterable[tuple[tuple[str, ...], float]]
#: Seconds from exec to enforced: a value within a millisecond, a move on an idle node after an RCU grace period.
EXEC_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
SWEEP_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
MAX_DOMAINS = 256
MAX_POD_LINES = 1000
OTHERS = "(others)"
POD = ("pod_namespace", "pod_name", "pod_container")


class PlacementMetrics(MetricGroup):
    """The metric families.

    Others set the callables, which are read at a scrape.
    """

    def __init__(self) -> None:
        self.placements: Callable[[], Iterable[Placement]] = tuple
        self.waiting: Callable[[], int] = int
        self.pressure: Callable[[], Iterable[Pressure]] = tuple
        self.unreadable_now: Callable[[], int] = int
        self.unreadable_ever: Callable[[], int] = int
        self.events_skipped: Callable[[], int] = int
        self.processes_slowed: Callable[[], int] = int
        self.crowds_slowed: Callable[[], int] = int
        self.containers_slowed: Callable[[], int] = int
        self.walks_cut: Callable[[], int] = int
        self.up: Callable[[], bool] = bool
        self._make_limit_families()
        self._make_process_families()
        self._make_write_families()
        self._make_event_families()
        self._make_kill_families()

    def _make_limit_families(self) -> None:
        self.unreadable = Gauge(
            "holdfast_placement_unreadable_processes",
            "Processes whose command line cannot be read: their memory is locked.",
            read=lambda: [((), float(self.unreadable_now()))],
        )
        self.unreadable_total = Counter(
            "holdfast_placement_unreadable_total",
            "Times a process's command line was not read in time.",
            read=lambda: [((), float(self.unreadable_ever()))],
        )
        self.skipped = Counter(
            "holdfast_placement_events_skipped_total",
            "Process events not served: their process, or its user and group, makes too many and waits for the rescan.",
            read=lambda: [((), float(self.events_skipped()))],
        )
        self.slowed = Counter(
            "holdfast_placement_processes_slowed_total",
            "Times a process made so many events that only the rescan examined it.",
            read=lambda: [((), float(self.processes_slowed()))],
        )
        self.slowed_crowds = Counter(
            "holdfast_placement_crowds_slowed_total",
            "Times the processes of one user in one group made so many events that only the rescan examined them.",
            read=lambda: [((), float(self.crowds_slowed()))],
        )
        self.containers_looked_at = Counter(
            "holdfast_placement_containers_looked_at_total",
            "Times the processes of a started container were examined, because no process events arrive.",
        )
        self.containers_skipped = Counter(
            "holdfast_placement_containers_skipped_total",
            "Such looks left to the rescan: too many containers of one pod started.",
            read=lambda: [((), float(self.containers_slowed()))],
        )
        self.process_errors = Counter(
            "holdfast_placement_process_errors_total",
            "Processes left out because of an error while they were examined.",
        )
        self.groups_cut = Counter(
            "holdfast_placement_group_walks_cut_total",
            "Walks over cgroups that ended early: there were too many groups.",
            read=lambda: [((), float(self.walks_cut()))],
        )

    def _make_process_families(self) -> None:
        self.engine_up = Gauge(
            "holdfast_placement_engine_up",
            "1 while the placement engine works, 0 when it has ended or hangs.",
            read=lambda: [((), float(self.up()))],
        )
        self.processes = Gauge(
            "holdfast_placement_processes", "Processes under a rule.", ("rule", "state"), read=self._processes
        )
        self.pod_processes = Gauge(
            "holdfast_placement_pod_processes",
            "Processes of pods under a rule.",
            (*POD, "rule", "state"),
            read=self._pod_processes,
        )

    def _make_write_families(self) -> None:
        self.writes = Counter(
            "holdfast_placement_writes_total", "Writes to processes and cgroups.", ("field", "result")
        )
        self.refusals = Counter(
            "holdfast_placement_refusals_total",
            "Changes that a rule requires and that were refused.",
            ("rule", "reason"),
        )
        self.drift = Counter(
            "holdfast_placement_drift_total", "Values that another program changed and we wrote again.", ("rule",)
        )
        self.held_after = Histogram(
            "holdfast_placement_exec_to_held_seconds",
            "From a process's exec to its value.",
            ("field",),
            bounds=EXEC_SECONDS,
        )

    def _make_event_families(self) -> None:
        self.events = Counter("holdfast_placement_events_total", "Process events from the kernel.", ("kind",))
        self.lost = Counter("holdfast_placement_events_lost_total", "Times the kernel dropped process events.")
        self.missed = Counter(
            "holdfast_placement_missed_total",
            "Processes under a rule that a periodic rescan found: no event had reported them.",
        )
        self.feed = Gauge(
            "holdfast_placement_events_available", "1 while process events arrive, 0 when only rescans find processes."
        )
        self.sweeps = Counter("holdfast_placement_sweeps_total", "Times all of /proc was read.", ("cause",))
        self.sweep_seconds = Histogram(
            "holdfast_placement_sweep_seconds", "How long reading all of /proc took.", bounds=SWEEP_SECONDS
        )
        self.moves_waiting = Gauge(
            "holdfast_placement_moves_waiting", "Cgroup moves in the queue.", read=lambda: [((), self.waiting())]
        )
        self.strangers = Counter(
            "holdfast_placement_recycled_total", "New processes with the number of an ended one that were moved back."
        )

    def _make_kill_families(self) -> None:
        self.kills = Counter(
            "holdfast_oom_kills_total", "OOM kills by the cgroup that was full and whose it was.", ("cgroup", *POD)
        )
        self.protected_kills = Counter(
            "holdfast_oom_protected_kills_total", "OOM kills of processes that a rule protects.", ("rule",)
        )
        self.refused = Gauge(
            "holdfast_placement_refused_processes",
            "Processes for which a rule is refused something, by the reason.",
            ("rule", "reason"),
            read=self._refused,
        )
        self.pressure_seconds = Gauge(
            "holdfast_pressure_waiting_seconds", "Time some or all work waited, since boot.", ("resource", "kind"),
            read=self._pressure,
        )  # fmt: skip

    def kill(self, kill: Kill) -> None:
        """Count a kill under its domain and pod, or under `OTHERS` once there are many."""
        labels = (valid(kill.domain), kill.pod_namespace, kill.pod_name, kill.container)
        if kill.protected and kill.rule is not None:
            self.protected_kills.inc(kill.rule)
        known = len(self.kills.values())
        self.kills.inc(*(labels if known < MAX_DOMAINS else (OTHERS, "", "", "")))

    def _processes(self) -> Lines:
        counts = Count((placement.rule, placement.state.value) for placement in self.placements())
        return sorted(counts.items())

    def _pod_processes(self) -> Lines:
        """Return a line for each container, rule and state; those beyond `MAX_POD_LINES` are added up."""
        counts = Count(
            (pod.namespace, pod.name, pod.container, placement.rule, placement.state.value)
            for placement in self.placements()
            if (pod := placement.pod) is not None and pod.name
        )
        lines: list[tuple[tuple[str, ...], float]] = sorted(counts.items())
        if len(lines) > MAX_POD_LINES:
            rest: Count[tuple[str, ...]] = Count()
            for (*_, rule, state), count in lines[MAX_POD_LINES:]:
                rest[OTHERS, "", "", rule, state] += int(count)
            lines = [*lines[:MAX_POD_LINES], *sorted(rest.items())]
        return lines

    def _refused(self) -> Lines:
        counts = Count(
            (placement.rule, reason.value)
            for placement in self.placements()
            for reason in {refusal.reason for refusal in placement.refusals}
        )
        return sorted(counts.items())

    def _pressure(self) -> Lines:
        return [((p.resource, "full" if p.full else "some"), p.total_s) for p in self.pressure()]
