"""Registries of the internet as a program sees them through a proxy that has their images itself; they take nothing.

The program needs ``environment()``: its requests go to the proxy, whose certificate has the registries' names.
"""

from __future__ import annotations

import gzip
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.needs import path_of
from tests.peers.layers import Made, digest

OCI = "application/vnd.oci.image"


class Images:
    """Blobs and manifests by digest, and manifests by ``name:tag``: each a media type and bytes."""

    def __init__(self) -> None:
        self.content: dict[str, tuple[str, bytes]] = {}

    def add(self, name: str, layers: Sequence[bytes], platforms: Sequence[str] = ("amd64", "arm64")) -> None:
        """An image of Linux for each of these architectures, as ``name:tag``: the layers, and one of its own."""
        own = {one: Made().add("image", f"{name} {one}".encode()).bytes for one in platforms}
        manifests = [{**self._image([*layers, own[one]], one), "platform": _platform(one)} for one in platforms]
        index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": manifests}
        described = self._blob(json.dumps(index).encode(), f"{OCI}.index.v1+json")
        self.content[name] = self.content[str(described["digest"])]

    def _image(self, layers: Sequence[bytes], architecture: str) -> dict[str, object]:
        diffs = {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}
        config = {**_platform(architecture), "config": {"Cmd": ["/bin/sh"]}, "rootfs": diffs}
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": self._blob(json.dumps(config).encode(), f"{OCI}.config.v1+json"),
            "layers": [self._blob(gzip.compress(one, mtime=0), f"{OCI}.layer.v1.tar+gzip") for one in layers],
        }
        return self._blob(json.dumps(manifest).encode(), f"{OCI}.manifest.v1+json")

    def _blob(self, data: bytes, kind: str) -> dict[str, object]:
        self.content[digest(data)] = (kind, data)
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}


def _platform(architecture: str) -> dict[str, str]:
    return {"architecture": architecture, "os": "linux"}


@contextmanager
def serving(images: Images, hosts: Sequence[str], folder: Path) -> Iterator[Mapping[str, str]]:
    """Serve the images, as each of these hosts, by the distribution specification's pull requests.

    Yields the environment of a Go program that sees it.
    """
    certificate, key = folder / "hosts.pem", folder / "hosts.key"
    names = ",".join(f"DNS:{host}" for host in hosts)
    command = [
        path_of("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", "/CN=hosts", "-addext", f"subjectAltName={names}"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.connection = tls.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
            self.close_connection = False

        def do_GET(self) -> None:
            name, _, reference = self.path.partition("?")[0].removeprefix("/v2/").rpartition("/")
            name = name.removesuffix("/manifests").removesuffix("/blobs")
            found = images.content.get(reference) or images.content.get(f"{name}:{reference}")
            kind, data = found or ("text/plain", b"")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Docker-Content-Digest", digest(data))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """A request is no output of a test."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield {"HTTPS_PROXY": f"http://127.0.0.1:{server.server_address[1]}", "SSL_CERT_FILE": str(certificate)}
        finally:
            server.shutdown()
            thread.join()
