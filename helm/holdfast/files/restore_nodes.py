"""Run ``holdfast restore`` in every daemon's pod: the chart's pre-delete hook, with the standard library alone.

``kubectl exec`` without kubectl: a WebSocket to the API server's exec subresource (RFC 6455; channel protocol
v4.channel.k8s.io: first byte 1 stdout, 2 stderr, 3 the exit status as a v1.Status). One pod after the other would take
a large cluster too long: eight at a time. Exits with 1 when a node could not be restored, and names it.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import struct
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode

ACCOUNT = Path(os.environ.get("ACCOUNT_DIR", "/var/run/secrets/kubernetes.io/serviceaccount"))
AT_ONCE = 8
TIMEOUT_S = 60.0
CLOSE = 8  # the first of the control opcodes
STDOUT, STDERR, STATUS = 1, 2, 3


class Api:
    """The API server as a pod reaches it."""

    def __init__(self) -> None:
        self._host = os.environ["KUBERNETES_SERVICE_HOST"]
        self._port = int(os.environ["KUBERNETES_SERVICE_PORT"])
        self._tls = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        # Python 3.13 sets it. The CAs of many clusters lack what RFC 5280 asks for (keyUsage), and kubectl takes them.
        self._tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._token = (ACCOUNT / "token").read_text().strip()

    def get(self, path: str, **headers: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """One GET, its body not yet read."""
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._tls)
        connection.request("GET", path, headers={"Authorization": f"Bearer {self._token}", **headers})
        return connection, connection.getresponse()

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """The running pods."""
        query = urlencode({"labelSelector": selector, "fieldSelector": "status.phase=Running"})
        connection, answer = self.get(f"/api/v1/namespaces/{namespace}/pods?{query}")
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise OSError(f"list pods: {answer.status} {body.decode(errors='replace')}")
        found: list[dict[str, Any]] = json.loads(body)["items"]
        return found

    def run(self, namespace: str, pod: str, command: list[str]) -> tuple[bool, str]:
        """Run a command in a pod's container ``holdfast``; whether it succeeded, and what it said."""
        query = urlencode(
            [("command", word) for word in command]
            + [("container", "holdfast"), ("stdout", "true"), ("stderr", "true")]
        )
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Protocol": "v4.channel.k8s.io",
        }
        connection, answer = self.get(f"/api/v1/namespaces/{namespace}/pods/{pod}/exec?{query}", **upgrade)
        if answer.status != 101:
            return False, f"{answer.status} {answer.read().decode(errors='replace').strip()}"
        said, status = [], {"status": "Failure", "message": "the connection ended without an exit status"}
        for payload in messages(answer):
            if payload[:1] in (bytes([STDOUT]), bytes([STDERR])):
                said.append(payload[1:].decode(errors="replace"))
            elif payload[:1] == bytes([STATUS]):
                status = json.loads(payload[1:])
        connection.close()
        good = status.get("status") == "Success"
        return good, "".join(said).strip() + ("" if good else f" ({status.get('message', '')})")


def messages(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The messages of an upgraded connection until it is closed; a server's frames are never masked."""
    stream = answer.fp
    whole = b""
    while len(head := stream.read(2)) == 2:
        final, opcode, length = head[0] & 0x80, head[0] & 0x0F, head[1] & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", exactly(stream, 2))
        elif length == 127:
            (length,) = struct.unpack(">Q", exactly(stream, 8))
        payload = exactly(stream, length)
        if opcode == CLOSE:
            return
        if opcode >= CLOSE:  # pings of a command that takes a second need no answer
            continue
        whole += payload
        if final:
            yield whole
            whole = b""


def exactly(stream: BinaryIO, length: int) -> bytes:
    """So many bytes.

    Raises:
        ConnectionError: there are fewer.
    """
    found = stream.read(length)
    if len(found) < length:
        raise ConnectionError("the connection ended within a message")
    return found


def main() -> int:
    """Restore all; the exit code."""
    namespace, selector = sys.argv[1:3]
    api = Api()

    def restore(pod: dict[str, Any]) -> tuple[str, bool, str]:
        try:
            return pod["spec"]["nodeName"], *api.run(namespace, pod["metadata"]["name"], ["holdfast", "restore"])
        except OSError as error:
            return pod["spec"]["nodeName"], False, str(error)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(restore, api.pods(namespace, selector)))
    for node, good, said in results:
        print(f"{node}: {'' if good else 'FAILED: '}{said}")
    return int(not all(good for _, good, _ in results))


if __name__ == "__main__":
    sys.exit(main())
