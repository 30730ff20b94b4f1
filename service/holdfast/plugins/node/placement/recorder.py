"""Kubernetes Events on pods, about refused annotations and OOM kills, if the operator enables and permits them.

The daemon sends nothing else to the API server. It acts as the pod's service account, which may create and patch events
and nothing else (core/v1 ``Event``, ``kubectl describe pod`` shows it). An error there delays nothing: the recorder has
its own thread, and the daemon's end does not wait for it. An Event that could not be written is counted, and logged
once for each reason. A kill is written before an annotation.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from holdfast import log
from holdfast.inert import valid
from holdfast.metrics import Counter
from holdfast.node.model.memory_domain import Kill
from holdfast.node.rule.annotation import PREFIX, Ask
from holdfast.plugins.node.placement import kill_text
from holdfast.plugins.node.placement.api_server import ApiServer
from holdfast.plugins.node.placement.kill_series import EventWrite, KillSeries, Taken
from holdfast.pods.record import PodRecord

LOG = log.named(__name__)
WAITING = 256  # events about annotations; more at once are dropped
PAUSES_S = (1.0, 5.0, 25.0)  # before the attempts after the first
REFUSED = "AnnotationRefused"
RESULTS = {REFUSED: ("written", "failed", "dropped"), kill_text.REASON: ("written", "counted", "failed", "dropped")}
_CREATED, _CONFLICT, _GONE = {200, 201, 202}, 409, 404
_MOST_SETTLED = 65_536  # numbers of kills that wait to be recorded while an Event is written
_LONGEST_PREFIX = 240  # of a name to which it adds five characters; 253 in all
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Settled = Callable[[Sequence[int]], None]


class Recorder:
    """Writes the Events it is given, one after the other, from `start` to `close`."""

    def __init__(
        self, server: ApiServer, node: str, boot_id: str = "", settled: Settled = lambda numbers: None
    ) -> None:
        """``settled`` receives the numbers of kills that are in an Event or never will be; on the recorder's thread."""
        self.written = Counter(
            "holdfast_placement_kubernetes_events_total",
            "Kubernetes Events on pods, by what they are about; counted: a kill that is in an earlier Event's count.",
            ("reason", "result"),
        )
        for reason, results in RESULTS.items():
            for result in results:
                self.written.labels(reason, result)
        self._server, self._node, self._settled = server, node, settled
        self._series = KillSeries(boot_id, time.monotonic())
        self._refused: deque[tuple[PodRecord, tuple[Ask, ...]]] = deque()
        self._done: deque[int] = deque(maxlen=_MOST_SETTLED)
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._complained: set[str] = set()

    def start(self) -> None:
        """Begin to write."""
        threading.Thread(target=self._run, name="kubernetes-events", daemon=True).start()

    def close(self) -> None:
        """Write no more Events after the one that is being written."""
        self._closed.set()
        with self._changed:
            self._changed.notify()

    # -- input, from any thread; never waits -------------------------------------------------------------------------

    def tell(self, pod: PodRecord, refused: Sequence[Ask]) -> None:
        """Have an Event on this pod about its refused annotations."""
        with self._changed:
            if len(self._refused) >= WAITING:
                self.written.inc(REFUSED, "dropped")
                return
            self._refused.append((pod, tuple(refused)))
            self._changed.notify()

    def kill(self, kill: Kill) -> None:
        """Record a kill in an Event on its pod, whose namespace and name are known."""
        message = kill_text.text_of(kill, _PAGE_BYTES)
        with self._changed:
            taken = self._series.add(kill, message, time.monotonic())
            if taken is Taken.COUNTED:
                self.written.inc(kill_text.REASON, "counted")
            elif taken is Taken.DROPPED:
                self.written.inc(kill_text.REASON, "dropped")
            if taken in (Taken.COUNTED, Taken.DROPPED):  # before it is written: a crash loses it, and doubles nothing
                self._done.append(kill.number)
            self._changed.notify()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._next()) is not None:
            job()
            self._note_settled()

    def _next(self) -> Callable[[], None] | None:
        """Wait for a job and return it; None at the end."""
        with self._changed:
            while not self._closed.is_set():
                now = time.monotonic()
                if (write := self._series.due(now)) is not None:
                    due = write
                    return lambda: self._write_kill(due)
                if self._refused:
                    pod, refused = self._refused.popleft()
                    return lambda: self._write_refused(pod, refused)
                if self._done:
                    return lambda: None
                self._changed.wait(self._series.wait_s(now))
        return None

    def _note_settled(self) -> None:
        with self._changed:
            done = list(self._done)
            self._done.clear()
        if not done:
            return
        try:
            self._settled(done)
        except Exception as error:  # they may be written again after a restart, under the same names
            LOG.warning("the written Events about OOM kills could not be recorded", error=error)

    def _write_refused(self, pod: PodRecord, refused: tuple[Ask, ...]) -> None:
        try:
            is_written = self._send("POST", _path(pod.namespace), event(pod, refused, self._node)) in _CREATED
        except Exception as error:  # about one pod, whatever its author wrote: the others' are written
            LOG.error("a Kubernetes Event could not be made", pod=f"{pod.namespace}/{pod.name}", error=error)
            is_written = False
        self.written.inc(REFUSED, "written" if is_written else "failed")

    def _write_kill(self, write: EventWrite) -> None:
        again = False
        try:
            status = self._make_or_patch(write)
            is_written = status in _CREATED or status == _CONFLICT  # an answer was lost, or we were ended before it
            again = _may_change(status)
        except Exception as error:  # as above
            LOG.error("a Kubernetes Event could not be made", pod=f"{write.namespace}/{write.pod}", error=error)
            is_written = False
        self.written.inc(kill_text.REASON, "written" if is_written else "failed")
        with self._changed:
            if is_written:
                self._done.append(write.number)
            else:
                self._series.failed(write, time.monotonic(), retry=again)

    def _make_or_patch(self, write: EventWrite) -> int:
        """Create the Event or update it; create it again if it expired in the API server. Return the status."""
        status = _GONE
        if not write.is_new:
            status = self._send("PATCH", _path(write.namespace, write.name), update(write), (_GONE,))
        if status == _GONE:
            status = self._send("POST", _path(write.namespace), kill_event(write, self._node), (_CONFLICT,))
        return status

    def _send(self, method: str, path: str, body: dict[str, Any], expected: Sequence[int] = ()) -> int:
        """Send a request, and retry it after each of `PAUSES_S`; return the last status, 0 without one.

        Stop at success, at an ``expected`` status, at one that a retry would not change, and at `close`.
        """
        status, said = 0, ""
        for pause_s in (*PAUSES_S, 0.0):
            try:
                status, said = self._server.send(method, path, body)
            except (OSError, ValueError) as error:
                status, said = 0, str(error)
            if status in _CREATED:
                self._complained.clear()
            if status in _CREATED or status in expected:
                return status
            if not _may_change(status):
                break
            if self._closed.wait(pause_s):
                break
        if said not in self._complained and len(self._complained) < WAITING:
            self._complained.add(said)
            LOG.warning("a Kubernetes Event could not be written", status=status, reason=said, remedy=_remedy(status))
        return status


def _may_change(status: int) -> bool:
    """Whether the server may answer differently next time; status 0: it did not answer."""
    return status not in range(400, 500) or status == 429


def event(pod: PodRecord, refused: Sequence[Ask], node: str) -> dict[str, Any]:
    """Return the Event about refused annotations, as ``kubectl create`` would take it."""
    words = "; ".join(f"{PREFIX}{ask.key}: {ask.value}: {ask.refused}" for ask in refused)
    message = valid(words).encode()[: kill_text.MOST_BYTES].decode(errors="ignore")
    now = time.time_ns()
    metadata = {"generateName": f"{pod.name[:_LONGEST_PREFIX].rstrip('-.')}."}
    return _event(metadata, (pod.namespace, pod.name, pod.uid), REFUSED, message, node) | _times(now, now, 1)


def kill_event(write: EventWrite, node: str) -> dict[str, Any]:
    """Return the Event about OOM kills, as ``kubectl create`` would take it."""
    about = write.namespace, write.pod, write.uid
    times = _times(write.first_ns, write.last_ns, write.count)
    return _event({"name": write.name}, about, kill_text.REASON, write.message, node) | times


def update(write: EventWrite) -> dict[str, Any]:
    """Return the fields of such an Event that change."""
    return {"message": write.message, "count": write.count, "lastTimestamp": _time(write.last_ns)}


def node_name(environ: Mapping[str, str]) -> str:
    """Return the node's name as the chart gives it; else the host's name."""
    return environ.get("NODE_NAME") or os.uname().nodename


def _event(
    metadata: dict[str, str], about: tuple[str, str, str], reason: str, message: str, node: str
) -> dict[str, Any]:
    namespace, name, uid = about
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {**metadata, "namespace": namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "source": {"component": "holdfast", "host": node},
        "reportingComponent": "holdfast",
        "reportingInstance": node,
    }


def _times(first_ns: int, last_ns: int, count: int) -> dict[str, Any]:
    return {"firstTimestamp": _time(first_ns), "lastTimestamp": _time(last_ns), "count": count}


def _time(unix_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_ns // 10**9))


def _path(namespace: str, name: str = "") -> str:
    events = f"/api/v1/namespaces/{quote(namespace, safe='')}/events"
    return f"{events}/{quote(name, safe='')}" if name else events


def _remedy(status: int) -> str:
    if status in {401, 403}:
        return "let the service account create and patch events, as the chart's pods.kubernetesEvents.enabled does"
    return "see whether the node reaches the API server; the daemon goes on without"
