"""Process events for the engine, or the reason why there are none; without events only rescans find changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from holdfast import log
from holdfast.errors import Unavailable
from holdfast.node.apply.metrics import PlacementMetrics
from holdfast.node.proc.connector import COMM, EXEC, FORK, UID, EventsLost, ForkLog, ProcessEvent, ProcessEvents

LOG = log.named(__name__)
_KINDS = {EXEC: "exec", FORK: "fork", UID: "uid", COMM: "comm"}


class Feed:
    """A subscription that is opened again when it stops. ``why_not`` is empty while events arrive."""

    def __init__(self, proc_root: str, rescan_s: float, metrics: PlacementMetrics) -> None:
        self._proc_root, self._rescan_s, self._metrics = proc_root, rescan_s, metrics
        self._counts = {what: metrics.events.labels(kind) for what, kind in _KINDS.items()}
        self._events: ProcessEvents | None = None
        self._forks: ForkLog | None = None
        self.why_not = "not started"

    def open(self) -> bool:
        """Subscribe; False: no events are available here. The reason is logged once."""
        try:
            self._events = ProcessEvents(self._proc_root)
        except Unavailable as error:
            if self.why_not != error.message:
                LOG.warning(
                    "no process events: only rescans find processes", every_s=self._rescan_s, error=error.message
                )
            self.why_not = error.message
        else:
            if self.why_not not in ("", "not started"):
                LOG.info("process events arrive again")
            self.why_not = ""
        self._metrics.feed.set(0 if self.why_not else 1)
        return not self.why_not

    def fileno(self) -> int:
        """Return the descriptor for poll; -1 without events."""
        return self._events.fileno() if self._events is not None else -1

    def follow(self, parents: Collection[int], *, uids: bool) -> None:
        """See `ProcessEvents.follow`."""
        if self._events is not None:
            self._events.follow(parents, uids=uids)

    def mute(self, pids: Collection[int]) -> None:
        """See `ProcessEvents.mute`."""
        if self._events is not None:
            self._events.mute(pids)

    def read(self) -> Sequence[ProcessEvent]:
        """Return the waiting events, or the first part of them; empty: there are no more.

        Raises:
            Lost: the kernel dropped some; the rest can still be read.
        """
        if self._events is None:
            return ()
        try:
            events = self._events.read()
        except EventsLost:
            self._metrics.lost.labels().value += 1
            LOG.warning("the kernel dropped process events; all processes are rescanned")
            raise
        for event in events:
            self._counts[event.what].value += 1
        return events

    @property
    def tells_forks(self) -> bool:
        """Whether `forks` has something to read from."""
        return self._forks is not None

    def forks(self) -> list[tuple[int, int]]:
        """Return the (parent, child) pairs forked since the last call, as far as the kernel reported them.

        Raises:
            Lost: the kernel dropped some, or it reports them from now on: children that exist already have to be looked
                for.
        """
        if self._events is None:
            return []
        if self._forks is None:
            try:
                self._forks = ForkLog(self._proc_root)
            except Unavailable as error:
                LOG.debug("no forks are reported", error=error)
                return []
            raise EventsLost
        return self._forks.read()

    def alive(self) -> bool:
        """Whether events arrive, with all waiting ones read; if not, the subscription was renewed, or is closed now."""
        if self._events is None:
            return self.open()
        if self._events.heartbeat():
            return True
        LOG.warning("process events stopped; subscribing again")
        self.close()
        self.open()
        return False

    def close(self) -> None:
        """Unsubscribe."""
        if self._events is not None:
            self._events.close()
            self._events = None
            self.why_not = "stopped"
        if self._forks is not None:
            self._forks.close()
            self._forks = None
