"""The pre-delete hook's script against an API server that speaks as Kubernetes does: HTTPS, token, WebSocket."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.chart.kit import CHART, COMPUTES_S
from tests.needs import path_of, peer

pytestmark = peer("openssl")
SCRIPT = CHART / "files" / "restore_nodes.py"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
#: The script as Python 3.13 and later run it, whose default context is strict.
AS_PYTHON_3_13 = """\
import runpy, ssl, sys
create = ssl.create_default_context
def strict(*arguments, **words):
    context = create(*arguments, **words)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context
ssl.create_default_context = strict
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
OPENSSL = """\
[req]
distinguished_name = name
x509_extensions = ca
[name]
[ca]
basicConstraints = CA:TRUE
subjectKeyIdentifier = hash
[api]
subjectAltName = IP:127.0.0.1
authorityKeyIdentifier = keyid
"""
SELECTOR = "app.kubernetes.io/name=holdfast,app.kubernetes.io/component=daemon"


def frame(payload, opcode=2, final=True):
    head = bytes([(0x80 if final else 0) | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + bytes([126]) + struct.pack(">H", len(payload)) + payload


class Api(BaseHTTPRequestHandler):
    """``server.pods``: pod → what its command does: frames, or an HTTP status."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        self.server.asked.append((self.headers["Authorization"], url.path, parse_qs(url.query)))
        parts = url.path.split("/")
        if parts[-1] == "pods":
            items = [{"metadata": {"name": name}, "spec": {"nodeName": f"node-of-{name}"}} for name in self.server.pods]
            self._answer(200, json.dumps({"items": items}).encode())
            return
        does = self.server.pods[parts[-2]]
        if isinstance(does, int):
            self._answer(does, b"no")
            return
        accept = base64.b64encode(hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + GUID).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.send_header("Sec-WebSocket-Protocol", self.headers["Sec-WebSocket-Protocol"])
        self.end_headers()
        self.wfile.write(does)
        self.close_connection = True

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def status(word, message=""):
    return frame(b"\x03" + json.dumps({"status": word, "message": message}).encode())


def made_by_a_ca_without_key_usage(folder):
    """``ca.crt``, as many clusters have it, and the API server's own certificate, signed by it."""

    def openssl(*words):
        command = [path_of("openssl"), *words]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPUTES_S, cwd=folder)

    (folder / "openssl.cnf").write_text(OPENSSL)
    new = ("-config", "openssl.cnf", "-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=kube-ca", "-keyout", "ca.key", "-out", "ca.crt")
    openssl("req", *new, "-subj", "/CN=api", "-keyout", "api.key", "-out", "api.csr")
    signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    made = ("-in", "api.csr", "-out", "api.crt", "-days", "2", "-extfile", "openssl.cnf", "-extensions", "api")
    openssl("x509", "-req", *signer, *made)
    shown = [path_of("openssl"), "x509", "-in", folder / "ca.crt", "-noout", "-text"]
    text = subprocess.run(shown, check=True, capture_output=True, text=True, timeout=COMPUTES_S).stdout
    assert "CA:TRUE" in text
    assert "Key Usage" not in text


@pytest.fixture
def cluster(tmp_path):
    """Starts an API server with these pods; gives a function that runs the script, and the requests."""
    made_by_a_ca_without_key_usage(tmp_path)
    (tmp_path / "token").write_text("the-token\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "api.crt", tmp_path / "api.key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def run(**pods):
        server.pods = pods
        where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.server_port)}
        return subprocess.run(
            [sys.executable, "-I", "-c", AS_PYTHON_3_13, SCRIPT, "holdfast", SELECTOR],
            env={**os.environ, **where, "ACCOUNT_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=COMPUTES_S,
            check=False,
        )

    yield run, server.asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_daemon_is_told_to_restore(cluster):
    run, asked = cluster
    good = frame(b"\x01") + frame(b"\x013 restored") + status("Success") + frame(b"", 8)
    done = run(a=good, b=good)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["node-of-a: 3 restored", "node-of-b: 3 restored"]
    assert {token for token, _, _ in asked} == {"Bearer the-token"}
    (_, path, query) = asked[0]
    assert (path, query["labelSelector"]) == ("/api/v1/namespaces/holdfast/pods", [SELECTOR])
    assert sorted(path for _, path, _ in asked[1:]) == [f"/api/v1/namespaces/holdfast/pods/{pod}/exec" for pod in "ab"]
    assert all(query["command"] == ["holdfast", "restore"] for _, _, query in asked[1:])


def test_a_command_that_failed_fails_the_hook_and_names_the_node(cluster):
    run, _ = cluster
    bad = frame(b"\x02failed: 7: no such process") + status("Failure", "command terminated with exit code 1")
    done = run(a=bad + frame(b"", 8), b=status("Success"))
    assert done.returncode == 1
    said = "node-of-a: FAILED: failed: 7: no such process (command terminated with exit code 1)"
    assert said in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("does", "words"),
    [(403, "FAILED: 403 no"), (b"", "without an exit status"), (b"\x82\x7e", "ended within a message")],
    ids=["refused", "cut off", "cut off within a frame"],
)
def test_a_node_that_does_not_answer_right_fails_the_hook(cluster, does, words):
    run, _ = cluster
    done = run(a=does)
    assert (done.returncode, done.stderr) == (1, "")
    assert words in done.stdout


def test_long_and_fragmented_answers_are_put_together(cluster):
    run, _ = cluster
    long = frame(b"\x01" + b"x" * 300, final=False) + frame(b"ping", 9) + frame(b"y" * 10, 0)
    done = run(a=long + status("Success") + frame(b"", 8))
    assert done.stdout == f"node-of-a: {'x' * 300}{'y' * 10}\n"
    assert done.returncode == 0


def test_no_daemon_is_nothing_to_do(cluster):
    run, _ = cluster
    done = run()
    assert (done.returncode, done.stdout) == (0, "")
