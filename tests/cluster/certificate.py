"""The certificates of a cluster and the kubeconfig files that use them, made by openssl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import network
from tests.cluster.state import State
from tests.needs import path_of

DAYS = "30"
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Authority:
    """A cluster's certificate authority."""

    state: State

    def cert(self, name: str) -> Path:
        """The file of a certificate; ``ca`` for the authority's own."""
        return self.state.folder / "pki" / f"{name}.crt"

    def key(self, name: str) -> Path:
        """The file of a private key."""
        return self.state.folder / "pki" / f"{name}.key"

    def create(self) -> None:
        """Make the authority, the service accounts' key, and what the control plane needs."""
        openssl("req", "-x509", *EC, "-days", DAYS, "-subj", "/CN=holdfast-test-ca", *self._out("ca"))
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.key("sa"))
        openssl("pkey", "-in", self.key("sa"), "-pubout", "-out", self.cert("sa"))
        names = ["DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc"]
        addresses = [f"IP:{one}" for one in ("127.0.0.1", network.CONTROL, network.API_SERVICE)]
        self.issue("apiserver", "/CN=kube-apiserver", [*names, *addresses])
        self.client("admin", "/O=system:masters/CN=admin")
        self.client("controller-manager", "/CN=system:kube-controller-manager")
        self.client("scheduler", "/CN=system:kube-scheduler")

    def create_for(self, node: str) -> None:
        """Make what a kubelet needs: it is a client of the API server, and a server for it."""
        self.client(node, f"/O=system:nodes/CN=system:node:{node}")
        self.issue(f"{node}-serving", f"/CN={node}", [f"DNS:{node}", f"IP:{network.address(node)}"])

    def issue(self, name: str, subject: str, alternative_names: Sequence[str] = ()) -> None:
        """Make a key and a certificate of this authority."""
        extensions = ["-addext", "basicConstraints=critical,CA:FALSE"]
        extensions += ["-addext", "extendedKeyUsage=serverAuth,clientAuth"]
        if alternative_names:
            extensions += ["-addext", "subjectAltName=" + ",".join(alternative_names)]
        signed: list[str | Path] = ["-CA", self.cert("ca"), "-CAkey", self.key("ca"), "-days", DAYS]
        openssl("req", "-x509", *EC, "-subj", subject, *extensions, *signed, *self._out(name))

    def client(self, name: str, subject: str) -> None:
        """Make a certificate and a kubeconfig for a client of the API server."""
        self.issue(name, subject)
        server = f"https://{network.CONTROL}:{network.API_PORT}"
        text = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "test", "cluster": {"server": server, "certificate-authority": str(self.cert("ca"))}}
            ],
            "users": [
                {
                    "name": name,
                    "user": {"client-certificate": str(self.cert(name)), "client-key": str(self.key(name))},
                }
            ],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        self.kubeconfig(name).write_text(json.dumps(text, indent=1))

    def kubeconfig(self, name: str) -> Path:
        """The kubeconfig of a client."""
        return self.state.folder / "etc" / f"{name}.kubeconfig"

    def _out(self, name: str) -> list[str | Path]:
        return ["-keyout", self.key(name), "-out", self.cert(name)]


def openssl(*words: str | Path) -> None:
    """Run openssl."""
    subprocess.run([path_of("openssl"), *words], check=True, capture_output=True)
