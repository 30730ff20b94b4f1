"""A fake Kubernetes API server: keeps the Events it is sent. TLS and HTTP are real; tests set what it refuses."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

PATIENCE_S = 120.0
FORBIDDEN = {"kind": "Status", "message": 'events is forbidden: User "x" cannot create resource "events"'}
KINDS = {"POST": "application/json", "PATCH": "application/merge-patch+json"}


class FakeApiServer:
    """``seen`` is what it was sent: path, headers and body of each request; ``events`` those that it keeps, by path.

    ``before_answer`` is called when a request was taken, before it is answered, and may answer otherwise.
    ``statuses`` are answers for the next requests, in their order, the last for all others; 0: as the real one would.
    """

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.seen, self.events = list(statuses or (0,)), [], {}
        self.changed = threading.Condition()
        self.before_answer: Callable[[int], int] = lambda status: status

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.changed:
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            status = status or self._take(handler.command, handler.path, handler.headers["Content-Type"], body)
            self.seen.append((handler.path, dict(handler.headers), body))
            self.changed.notify_all()
        status = self.before_answer(status)
        answer = json.dumps(FORBIDDEN if status == 403 else {}).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def _take(self, method: str, path: str, kind: str, body: dict) -> int:
        """As the real one has it: a name is taken once, and only what is there can be patched."""
        if kind != KINDS[method]:
            return 415
        if method == "POST":
            name = body["metadata"].get("name") or f"{body['metadata']['generateName']}{len(self.events):05d}"
            path = f"{path}/{name}"
            if path in self.events:
                return 409
            self.events[path] = body
            return 201
        if path not in self.events:
            return 404
        self.events[path] |= body
        return 200

    def until(self, holds) -> None:
        """Wait until ``holds()`` after some request."""
        assert self.comes(holds, PATIENCE_S), self.seen

    def comes(self, holds, seconds: float) -> bool:
        """Whether ``holds()`` after some request within this time."""
        with self.changed:
            return bool(self.changed.wait_for(holds, seconds))

    def about(self, reason: str) -> list[dict]:
        """The Events with this reason, in the order they were made."""
        with self.changed:
            return [event for event in self.events.values() if event["reason"] == reason]


@contextmanager
def listening(certificates, fake: FakeApiServer, name: str = "server"):
    """Serve on a free port of loopback, with the certificate of this name; the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            fake.answer(self)

        def do_PATCH(self):
            fake.answer(self)

        def log_message(self, *given):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.cert(name), certificates.key(name))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
