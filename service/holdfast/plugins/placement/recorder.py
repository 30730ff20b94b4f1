"""Kubernetes Events on pods whose annotations are refused, where the operator wants them and granted them.

All that the daemon ever says to the API server: one POST for a pod and what it is refused, as the pod's service
account, which may create events and nothing else (core/v1 ``Event``, ``kubectl describe pod`` shows it). Whatever goes
wrong there holds nothing up: it has a thread of its own, which the daemon's end does not wait for; what could not be
written is counted, and in the log once for each reason.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Full, Queue
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from holdfast import log
from holdfast.identifiers import whole_number
from holdfast.metrics import Counter
from holdfast.node.rule.annotation import PREFIX, Ask
from holdfast.pods.record import PodRecord

LOG = log.named(__name__)
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
WAITING = 256  # events; more at once are dropped
PAUSES_S = (1.0, 5.0, 25.0)  # before the attempts after the first
TIMEOUT_S = 10.0
_MOST = 1024  # bytes of a message; the API server takes no more
_LONGEST_PREFIX = 240  # of a name to which it adds five characters; 253 in all


class Server(Struct, frozen=True):
    """The API server as a pod finds it."""

    host: str
    port: int
    account: Path = ACCOUNT

    @classmethod
    def of(cls, environ: Mapping[str, str], account: Path = ACCOUNT) -> Server | None:
        """What the kubelet tells every container; None outside of a pod, or where no token is mounted."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
        if not host or whole_number(port) is None or not (account / "token").exists():
            return None
        return cls(host, int(port), account)

    def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, str]:
        """Status and what the server says of it. Blocks; the token is read each time, as the kubelet renews it.

        Raises:
            OSError: no connection, no answer, or the certificate is another's.
            ValueError: the token is none.
        """
        token = (self.account / "token").read_text().strip()
        trusted = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
        # Python 3.13 sets it. The CAs of many clusters lack what RFC 5280 asks for, and no other client minds.
        trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_S, context=trusted)
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, _said(answer.read(1 << 16))
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()


class Recorder:
    """Writes what it is told, one after the other, from `start` to `close`."""

    def __init__(self, server: Server, node: str) -> None:
        self.written = Counter(
            "holdfast_placement_kubernetes_events_total", "Kubernetes Events about refused annotations.", ("result",)
        )
        for result in ("written", "failed", "dropped"):
            self.written.labels(result)
        self._server, self._node = server, node
        self._waiting: Queue[tuple[PodRecord, tuple[Ask, ...]] | None] = Queue(WAITING)
        self._closed = threading.Event()
        self._complained: set[str] = set()

    def start(self) -> None:
        """Begin to write."""
        threading.Thread(target=self._run, name="kubernetes-events", daemon=True).start()

    def close(self) -> None:
        """No more after the one that is being written."""
        self._closed.set()
        with suppress(Full):  # then it does not wait for one
            self._waiting.put_nowait(None)

    def tell(self, pod: PodRecord, refused: Sequence[Ask]) -> None:
        """Have an Event on this pod. Never waits."""
        try:
            self._waiting.put_nowait((pod, tuple(refused)))
        except Full:
            self.written.inc("dropped")

    def _run(self) -> None:
        while (told := self._waiting.get()) is not None and not self._closed.is_set():
            pod, refused = told
            try:
                is_written = self._write(event(pod, refused, self._node))
            except Exception as error:  # about one pod, whatever its author wrote: the others' are written
                LOG.error("a Kubernetes Event could not be made", pod=f"{pod.namespace}/{pod.name}", error=error)
                is_written = False
            self.written.inc("written" if is_written else "failed")

    def _write(self, body: dict[str, Any]) -> bool:
        path = f"/api/v1/namespaces/{quote(body['metadata']['namespace'], safe='')}/events"
        for pause_s in (*PAUSES_S, 0.0):
            try:
                status, said = self._server.post(path, body)
            except (OSError, ValueError) as error:
                status, said = 0, str(error)
            if status in {200, 201, 202}:
                self._complained.clear()
                return True
            if status in range(400, 500) and status != 429:  # it will say the same again
                break
            if self._closed.wait(pause_s):
                break
        if said not in self._complained and len(self._complained) < WAITING:
            self._complained.add(said)
            LOG.warning("a Kubernetes Event could not be written", status=status, reason=said, remedy=_remedy(status))
        return False


def event(pod: PodRecord, refused: Sequence[Ask], node: str) -> dict[str, Any]:
    """The Event, as ``kubectl create`` would take it."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    words = "; ".join(f"{PREFIX}{ask.key}: {ask.value}: {ask.refused}" for ask in refused)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{pod.name[:_LONGEST_PREFIX]}.", "namespace": pod.namespace},
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid,
        },
        "type": "Warning",
        "reason": "AnnotationRefused",
        "message": words.encode()[:_MOST].decode(errors="ignore"),
        "source": {"component": "holdfast", "host": node},
        "reportingComponent": "holdfast",
        "reportingInstance": node,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }  # fmt: skip


def node_name(environ: Mapping[str, str]) -> str:
    """As the chart tells it; else the host's name."""
    return environ.get("NODE_NAME") or os.uname().nodename


def _said(answer: bytes) -> str:
    try:
        message = json.loads(answer)["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.decode(errors="replace")
    return " ".join(str(message).split())[:300]


def _remedy(status: int) -> str:
    if status in {401, 403}:
        return "let the service account create events, as the chart's pods.kubernetesEvents.enabled does"
    return "see whether the node reaches the API server; the daemon goes on without"
