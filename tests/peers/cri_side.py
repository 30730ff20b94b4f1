"""A real containerd with its CRI, in folders and cgroups of the test's own, and pods made through its calls.

Messages are written by their field numbers, apart from ours that are under test. The image is one static busybox.
Pods use the host's network, so no CNI plugin is needed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc

from tests.needs import path_of
from tests.peers import groups
from tests.peers.daemon import Daemon, containerd
from tests.peers.ttrpc_wire import field, parsed
from tests.running import until

IMAGE = "holdfast.test/busybox:1"
SERVICE = "/runtime.v1.RuntimeService/"
CONFIG = """\
version = 2
root = "{dir}/root"
state = "{dir}/state"
oom_score = 0
[grpc]
  address = "{dir}/s.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_cgroup = false
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
"""


def image_archive(path: Path) -> None:
    """An OCI archive of one layer: a static busybox, which is also what the pause runs."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(path_of("busybox"), "bin/busybox")
        for name in ("sh", "sleep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    blobs = {}

    def blob(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    layers = [blob(layer.getvalue(), "layer.v1.tar")]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layers[0]["digest"]]},
    }
    packed = blob(json.dumps(config).encode(), "config.v1+json")
    manifest = blob(json.dumps({"schemaVersion": 2, "config": packed, "layers": layers}).encode(), "manifest.v1+json")
    manifest["annotations"] = {"io.containerd.image.name": IMAGE}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    files |= {f"blobs/sha256/{digest}": data for digest, data in blobs.items()}
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def pairs(number: int, values: dict[str, str]) -> bytes:
    return b"".join(field(number, field(1, key) + field(2, value)) for key, value in values.items())


class Cri:
    """The runtime. `restart` ends it and starts it again over what runs; leaving the block removes everything."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.top = f"/holdfast-test-{uuid.uuid4().hex[:8]}"
        self.daemon: Daemon
        self._sandboxes: list[str] = []
        self._config = directory / "config.toml"
        self._config.write_text(CONFIG.format(dir=directory, image=IMAGE))

    @property
    def address(self) -> str:
        return str(self.dir / "s.sock")

    def start(self) -> None:
        self.daemon = containerd(self.dir, self._config).ready()
        until(self._is_initialized, "the CRI service is initialized")

    def _is_initialized(self) -> bool:
        """containerd 1.6 is ready before its CRI service has read what runs, and refuses all calls until then."""
        try:
            self.call("ListPodSandbox")
        except grpc.RpcError as error:
            if "not initialized" in (error.details() or ""):
                return False
            raise
        return True

    def stop(self) -> None:
        self.daemon.stop()
        self.daemon.__exit__()

    def load_image(self) -> None:
        image_archive(self.dir / "image.tar")
        command = [path_of("ctr"), "-a", self.address, "-n", "k8s.io", "images", "import", "--snapshotter", "native"]
        done = subprocess.run([*command, self.dir / "image.tar"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + self.daemon.said

    def call(self, method: str, request: bytes = b"") -> dict[int, bytes | int]:
        with grpc.insecure_channel(f"unix://{self.address}") as channel:
            return parsed(channel.unary_unary(SERVICE + method)(request, timeout=60))

    def run_pod(self, name: str, uid: str, labels: dict[str, str], annotations: dict[str, str] | None = None) -> Pod:
        """A pod as the kubelet makes a Burstable one, on the host's network, below a cgroup of the test's own."""
        namespaces = field(1, field(1, 2) + field(3, 1))  # network of the node, ipc of the pod
        linux = field(1, f"{self.top}/kubepods/burstable/pod{uid}") + field(2, namespaces)
        config = field(1, field(1, name) + field(2, uid) + field(3, "db")) + field(3, str(self.dir / "logs"))
        config += pairs(6, labels) + pairs(7, annotations or {}) + field(8, linux)
        sandbox = bytes(self.call("RunPodSandbox", field(1, config))[1]).decode()
        self._sandboxes.append(sandbox)
        return Pod(self, sandbox, config)

    def clear(self) -> None:
        for sandbox in self._sandboxes:
            self.call("StopPodSandbox", field(1, sandbox))
            self.call("RemovePodSandbox", field(1, sandbox))

    def unmount(self) -> None:
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for point in sorted((point for point in mounted if point.startswith(f"{self.dir}/")), reverse=True):
            subprocess.run(["umount", "--lazy", point], check=False)  # a shim that ends removes its own, too


class Pod:
    """A sandbox; `run` starts a container in it."""

    def __init__(self, cri: Cri, sandbox: str, config: bytes) -> None:
        self.cri, self.sandbox, self._config, self._made = cri, sandbox, config, 0

    def run(self, name: str, command: list[str], adj: int) -> str:
        """A container that runs; its id."""
        resources = field(1, field(5, adj) if adj >= 0 else b"")
        words = b"".join(field(3, word) for word in command)
        self._made += 1
        config = (
            field(1, field(1, name) + field(2, self._made)) + field(2, field(1, IMAGE)) + words + field(15, resources)
        )
        request = field(1, self.sandbox) + field(2, config) + field(3, self._config)
        container = bytes(self.cri.call("CreateContainer", request)[1]).decode()
        self.cri.call("StartContainer", field(1, container))
        return container

    def pids(self, container: str) -> list[int]:
        """The container's processes, by its cgroup: the one that was started first comes first."""
        uid = bytes(parsed(bytes(parsed(self._config)[1]))[2]).decode()
        for root in Path("/sys/fs/cgroup").iterdir():
            path = Path(f"{root}{self.cri.top}/kubepods/burstable/pod{uid}/{container}/cgroup.procs")
            with suppress(FileNotFoundError, NotADirectoryError):
                if pids := path.read_text().split():
                    return [pid for _, pid in sorted(filter(None, map(_start_of, pids)))]
        return []


def _start_of(pid: str) -> tuple[int, int] | None:
    """Return a process's start and pid; the pid alone may be used again. None: it is gone."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]), int(pid)
    return None


@contextmanager
def running(directory: Path) -> Iterator[Cri]:
    """containerd with its CRI and the image; everything of it is gone afterwards."""
    cri = Cri(directory)
    cri.start()
    try:
        cri.load_image()
        yield cri
    finally:
        try:
            cri.clear()
        finally:
            cri.stop()
            cri.unmount()
            groups.remove(cri.top.strip("/"))
