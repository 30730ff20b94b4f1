"""As much of CRI as runs a pod (`runtime.v1`, by its wire numbers), and an image that needs no registry."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc

from tests.peers.ttrpc_wire import field, parsed

IMAGE = "holdfast.test/firstlook:1"
NODE = 2  # NamespaceMode


def _entries(number: int, values: Mapping[str, str]) -> bytes:
    """A map field."""
    return b"".join(field(number, field(1, key) + field(2, value)) for key, value in values.items())


class Cri:
    """The runtime's CRI service; each call waits for its answer."""

    def __init__(self, address: str, directory: Path, cgroup_parent: str) -> None:
        self._channel = grpc.insecure_channel(f"unix:{address}")
        self._directory, self._parent = directory, cgroup_parent

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, request: bytes, service: str = "RuntimeService") -> bytes:
        ask = self._channel.unary_unary(f"/runtime.v1.{service}/{method}")
        return bytes(ask(request, timeout=60, wait_for_ready=True))

    def has_image(self) -> bool:
        status = field(1, field(1, IMAGE))
        return 1 in parsed(self.call("ImageStatus", status, "ImageService"))

    def pod_config(self, namespace: str, name: str, labels: Mapping[str, str]) -> bytes:
        """PodSandboxConfig: in the host's network, pid and ipc namespaces of its own."""
        metadata = field(1, name) + field(2, f"uid-{name}") + field(3, namespace)
        own = field(1, NODE)  # NamespaceOption.network
        linux = field(1, self._parent) + field(2, field(1, own))
        words = field(1, metadata) + field(3, str(self._directory))
        return words + _entries(6, {"io.kubernetes.pod.namespace": namespace, **labels}) + field(8, linux)

    def run_pod(self, config: bytes) -> str:
        return _text(self.call("RunPodSandbox", field(1, config)), 1)

    def create(
        self,
        pod: str,
        config: bytes,
        name: str,
        adj: int,
        *,
        attempt: int = 0,
        args: Sequence[str] = (),
    ) -> str:
        """A container of the image, with an oom_score_adj as the kubelet would ask for it; its id."""
        container = field(1, field(1, name) + field(2, attempt)) + field(2, field(1, IMAGE)) + field(11, f"{name}.log")
        container += b"".join(field(4, word) for word in args)
        container += field(15, field(1, field(5, adj)))
        return _text(self.call("CreateContainer", field(1, pod) + field(2, container) + field(3, config)), 1)

    def start(self, container: str) -> None:
        self.call("StartContainer", field(1, container))

    def remove_pod(self, pod: str) -> None:
        self.call("StopPodSandbox", field(1, pod))
        self.call("RemovePodSandbox", field(1, pod))

    def log(self, name: str) -> str:
        """Return the output of a container so far."""
        path = self._directory / f"{name}.log"
        return path.read_text() if path.exists() else ""


def _text(message: bytes, number: int) -> str:
    value = parsed(message)[number]
    assert isinstance(value, bytes)
    return value.decode()


def archive(program: Path, target: Path) -> Path:
    """An OCI archive of one program, named `IMAGE`."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(program, "firstlook", filter=_plain)
        for name in ("etc", "proc", "sys", "dev"):
            made = tarfile.TarInfo(name)
            made.type, made.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(made)
    blobs: dict[str, bytes] = {}

    def kept(kind: str, data: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": len(data)}

    layer_of = kept("layer.v1.tar", layer.getvalue())
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/firstlook"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_of["digest"]]},
    }
    manifest = {"schemaVersion": 2, "config": kept("config.v1+json", _json(config)), "layers": [layer_of]}
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                **kept("manifest.v1+json", _json(manifest)),
                "annotations": {"io.containerd.image.name": IMAGE},
                "platform": {"architecture": "amd64", "os": "linux"},
            }
        ],
    }
    with tarfile.open(target, "w") as tar:
        _put(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _put(tar, "index.json", _json(index))
        for digest, data in blobs.items():
            _put(tar, f"blobs/{digest.replace(':', '/')}", data)
    return target


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.mode = 0o755
    return member


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
