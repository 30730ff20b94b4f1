"""Real containerd 2 with NRI in a folder of its own, its pods' cgroup, and what our own commands say of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.needs import BIN, path_of
from tests.peers import daemon, groups
from tests.peers.daemon import Daemon
from tests.peers.nri import cri
from tests.running import PATIENCE_S

CONFIG = """\
version = 3
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{dir}/s.sock"
[ttrpc]
  address = "{dir}/t.sock"
[plugins.'io.containerd.internal.v1.opt']
  path = "{dir}/opt"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "native"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{image}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  SystemdCgroup = false
[plugins.'io.containerd.nri.v1.nri']
  disable = false
  socket_path = "{dir}/nri.sock"
  plugin_path = "{dir}/plugins"
  plugin_config_path = "{dir}/conf.d"
  plugin_registration_timeout = "1m"
  plugin_request_timeout = "1m"
"""


@contextmanager
def containerd(directory: Path, within_s: float = PATIENCE_S) -> Iterator[Daemon]:
    path = directory / "containerd.toml"
    path.write_text(CONFIG.format(dir=directory, image=cri.IMAGE, runc=path_of("runc")))
    environ = {"PATH": f"{BIN}/containerd2:{os.environ['PATH']}:/usr/sbin:/sbin"}  # its own shim, not Debian's
    with Daemon([path_of("containerd2/containerd"), "--config", path], directory, env=environ) as running:
        assert running.told("READY=1", within_s), running.said
        yield running


def import_image(address: str, directory: Path) -> None:
    archive = cri.archive(Path(path_of("firstlook")), directory / "image.tar")
    command = [path_of("ctr"), "--address", address, "--namespace", "k8s.io", "images", "import"]
    subprocess.run([*command, "--snapshotter", "native", archive], check=True, capture_output=True, timeout=PATIENCE_S)


@pytest.fixture
def parent() -> Iterator[str]:
    """A cgroup for the pods; what a test that failed halfway left in it is ended, and the group removed."""
    name = f"holdfast-test-nri-{os.getpid()}"
    yield f"/{name}"
    groups.remove(name)


@pytest.fixture
def node(short_dir: Path, parent: str) -> Iterator[Path]:
    """A folder for a runtime; mounts of a test that failed halfway are removed, in this folder only."""
    assert parent
    yield short_dir
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in mounts if point.startswith(f"{short_dir}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False)


def placements(directory: Path) -> list[dict[str, object]]:
    """The enforced processes: pid, value, value before us, as the daemon reports them."""
    return json.loads(told("ps", directory)).get("placements", [])


def told(command: str, directory: Path, *more: str) -> str:
    """Return what one of our commands prints, as JSON."""
    words = [*daemon.HOLDFAST, command, *more, "-a", str(directory / "h.sock"), "-o", "json"]
    environ = {**os.environ, **daemon.ENVIRON}
    return subprocess.run(words, check=True, capture_output=True, text=True, env=environ, timeout=PATIENCE_S).stdout
