"""The choice of Kubernetes Events to write for OOM kills, and their times. Pure: the time is an argument.

Theory
------
* Kills of one container with the same process name, memory domain and rule are a *series*: one Event, whose count,
  last time and text are updated. A pod has `MOST_OF_POD` series at most; its other kills are in one more series, marked
  "(combined from similar events)". A series without a kill for `SERIES_S` is over; as in the Kubernetes clients' own
  correlator.
* The first kill of a series is written at once. Later kills are written together, every `UPDATE_S` at most.
* Each pod, and the node, has a bucket of writes: a burst, then a pace. A kill that has to wait is not lost: it is in
  the count that is written later.
* An Event that the API server could not take now is written `AGAIN_S` later, with all kills counted by then; an Event
  that it refuses is not.
* Bounded: `MOST` series. If all of them wait to be written, a kill of another series is dropped, and counted.
* A kill is never in two counts: it is known by its number, also after a restart (`name_of`: an Event that was written
  already cannot be written again under the same name).
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from hashlib import blake2b

from msgspec import Struct
from msgspec.structs import replace

from holdfast.node.model.memory_domain import Kill
from holdfast.plugins.node.placement.kill_text import MOST_BYTES

SERIES_S = 600.0
UPDATE_S = 10.0
AGAIN_S = 30.0
MOST = 1024
MOST_OF_POD = 8
MOST_REMEMBERED = 4096  # numbers of kills
_COMBINED = "(combined from similar events) "
_LONGEST_PREFIX = 236  # of a name with 17 characters after it; 253 in all


class Bucket:
    """Writes that may be made now: ``burst`` at once, then one every ``every_s``."""

    def __init__(self, burst: int, every_s: float, now: float) -> None:
        self._burst, self._every_s = burst, every_s
        self._tokens, self._at = float(burst), now

    def wait_s(self, now: float) -> float:
        """Return the seconds until one more may be made; 0: now."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) / self._every_s)
        self._at = now
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) * self._every_s

    def take(self) -> None:
        """Count one write."""
        self._tokens -= 1


POD_BURST, POD_EVERY_S = 10, 30.0
NODE_BURST, NODE_EVERY_S = 50, 1.0


class Taken(enum.Enum):
    """The result of adding a kill."""

    FIRST = "first"  # it has an Event of its own
    COUNTED = "counted"  # it is in the count of another's Event
    AGAIN = "again"  # it was added before
    DROPPED = "dropped"


class EventWrite(Struct, frozen=True):
    """An Event to write; ``is_new``: it is to be created. ``number`` is the number of its first kill."""

    name: str
    namespace: str
    pod: str
    uid: str
    message: str
    count: int
    first_ns: int
    last_ns: int
    number: int
    is_new: bool


class _Series(Struct):
    write: EventWrite
    touched: float
    written_at: float = 0.0
    written: int = 0  # the count that was written
    not_before: float = 0.0

    def due_at(self, now: float) -> float:
        return max(self.not_before, self.written_at + UPDATE_S if self.written else now)


class _Pod(Struct):
    bucket: Bucket
    series: set[tuple[str, ...]]


class KillSeries:
    """`add` takes in kills, `due` gives writes, `failed` queues again a write that could not be made."""

    def __init__(self, boot_id: str, now: float) -> None:
        self._boot_id = boot_id
        self._node = Bucket(NODE_BURST, NODE_EVERY_S, now)
        self._series: OrderedDict[tuple[str, ...], _Series] = OrderedDict()  # the one that was touched last is last
        self._unwritten: OrderedDict[tuple[str, ...], None] = OrderedDict()  # the one that waits longest is first
        self._pods: dict[str, _Pod] = {}
        self._numbers: OrderedDict[int, None] = OrderedDict()

    def add(self, kill: Kill, message: str, now: float) -> Taken:
        """Add a kill in a pod whose name is known."""
        if kill.number in self._numbers:
            return Taken.AGAIN
        self._expire(now)
        key = self._key(kill)
        series = self._series.get(key)
        if series is None and len(self._series) >= MOST and not self._make_room():
            return Taken.DROPPED
        self._remember(kill.number)
        if len(key) == 1:
            message = f"{_COMBINED}{message}".encode()[:MOST_BYTES].decode(errors="ignore")
        if series is not None:
            old = series.write
            series.write = replace(old, message=message, count=old.count + 1, last_ns=max(old.last_ns, kill.at_ns))
            series.touched = now
            self._series.move_to_end(key)
            self._unwritten.setdefault(key, None)
            return Taken.COUNTED
        write = EventWrite(
            name_of(kill, self._boot_id), kill.pod_namespace, kill.pod_name, kill.pod, message, 1, kill.at_ns,
            kill.at_ns, kill.number, is_new=True,
        )  # fmt: skip
        self._series[key] = _Series(write, now)
        pod = self._pods.get(kill.pod)
        if pod is None:
            pod = self._pods[kill.pod] = _Pod(Bucket(POD_BURST, POD_EVERY_S, now), set())
        pod.series.add(key)
        self._unwritten[key] = None
        return Taken.FIRST

    def due(self, now: float) -> EventWrite | None:
        """Return the write that waits longest of those that may be made now; None: there is none."""
        if self._node.wait_s(now) > 0:
            return None
        for key in self._unwritten:
            series = self._series[key]
            bucket = self._pods[series.write.uid].bucket
            if series.due_at(now) <= now and bucket.wait_s(now) <= 0:
                self._node.take()
                bucket.take()
                del self._unwritten[key]
                series.write = replace(series.write, is_new=not series.written)
                series.written, series.written_at = series.write.count, now
                return series.write
        return None

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until a write may be `due`; None: not before another kill."""
        waits = (
            max(self._series[key].due_at(now) - now, self._pods[self._series[key].write.uid].bucket.wait_s(now))
            for key in self._unwritten
        )
        shortest = min(waits, default=None)
        return None if shortest is None else max(0.0, shortest, self._node.wait_s(now))

    def failed(self, write: EventWrite, now: float, *, retry: bool) -> None:
        """Record a failed write. ``retry``: repeat it in `AGAIN_S`; otherwise the next kill of its series does."""
        for key, series in self._series.items():
            if series.write.name == write.name:
                if write.is_new:
                    series.written = 0
                if retry:
                    series.not_before = now + AGAIN_S
                    self._unwritten.setdefault(key, None)

    @property
    def size(self) -> int:
        """The number of series."""
        return len(self._series)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _key(self, kill: Kill) -> tuple[str, ...]:
        """Return its series: the series of kills like it, or the series of the rest of its pod."""
        rule = kill.rule if kill.rule is not None else ""
        key = (kill.pod, kill.container_id, kill.comm, kill.domain, rule)
        pod = self._pods.get(kill.pod)
        if pod is None or key in pod.series or len(pod.series) < MOST_OF_POD:
            return key
        return (kill.pod,)

    def _remember(self, number: int) -> None:
        self._numbers[number] = None
        if len(self._numbers) > MOST_REMEMBERED:
            self._numbers.popitem(last=False)

    def _expire(self, now: float) -> None:
        """Drop the series that are over, the oldest first, up to one that waits to be written."""
        while self._series:
            key = next(iter(self._series))
            if now - self._series[key].touched < SERIES_S or key in self._unwritten:
                return
            self._drop(key)

    def _make_room(self) -> bool:
        key = next((key for key in self._series if key not in self._unwritten), None)
        if key is None:
            return False
        self._drop(key)
        return True

    def _drop(self, key: tuple[str, ...]) -> None:
        series = self._series.pop(key)
        self._unwritten.pop(key, None)
        pod = self._pods[series.write.uid]
        pod.series.discard(key)
        if not pod.series:
            del self._pods[series.write.uid]


def name_of(kill: Kill, boot_id: str) -> str:
    """Return the Event's name, the same for the same kill: the API server has no two of one name."""
    identity = blake2b(f"{boot_id} {kill.number}".encode(), digest_size=8).hexdigest()
    return f"{kill.pod_name[:_LONGEST_PREFIX].rstrip('-.')}.{identity}"
