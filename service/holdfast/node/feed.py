"""Process events for the engine, or the reason why there are none; then sweeps alone have to do."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from holdfast import log
from holdfast.errors import Unavailable
from holdfast.node.procconn import EXEC, FORK, UID, Event, Lost, ProcessEvents
from holdfast.node.tally import Tally

LOG = log.named(__name__)
_KINDS = {EXEC: "exec", FORK: "fork", UID: "uid"}


class Feed:
    """A subscription that is opened again when it went dead. ``why_not`` is empty while events arrive."""

    def __init__(self, proc_root: str, rescan_s: float, tally: Tally) -> None:
        self._proc_root, self._rescan_s, self._tally = proc_root, rescan_s, tally
        self._events: ProcessEvents | None = None
        self.why_not = "not started"

    def open(self) -> bool:
        """Subscribe; False, said once in the log, when there are no events to be had here."""
        try:
            self._events = ProcessEvents(self._proc_root)
        except Unavailable as error:
            if self.why_not != error.message:
                LOG.warning("no process events: only sweeping", every_s=self._rescan_s, error=error.message)
            self.why_not = error.message
        else:
            if self.why_not not in ("", "not started"):
                LOG.info("process events arrive again")
            self.why_not = ""
        self._tally.feed.set(0 if self.why_not else 1)
        return not self.why_not

    def fileno(self) -> int:
        """For poll; -1 without events."""
        return self._events.fileno() if self._events is not None else -1

    def follow(self, parents: Collection[int], *, uids: bool) -> None:
        """See `ProcessEvents.follow`."""
        if self._events is not None:
            self._events.follow(parents, uids=uids)

    def read(self) -> Iterator[Event]:
        """What waits.

        Raises:
            Lost: the kernel dropped some; the rest can still be read.
        """
        if self._events is None:
            return
        try:
            for event in self._events.read():
                self._tally.events.inc(_KINDS.get(event.what, "comm"))
                yield event
        except Lost:
            self._tally.lost.labels().value += 1
            LOG.warning("the kernel dropped process events; looking at every process")
            raise

    def alive(self) -> bool:
        """Whether it works, with everything waiting read; if not it was opened anew, or is closed now."""
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
