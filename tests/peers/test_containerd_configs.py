# ruff: noqa: E501 (a row of a table stays a row)
"""Configurations of containerd as they are found on machines: what a real one accepts, ``config check`` accepts too."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from holdfast.config import Settings, load

from tests.needs import path_of, peer
from tests.peers.daemon import ENVIRON

pytestmark = peer("containerd", "containerd2/containerd", "containerd23/containerd")
DOCKER = """disabled_plugins = ["cri"]
#root = "/var/lib/containerd"
"""
DOCKERD = """version = 2
root = "/var/lib/docker/containerd/daemon"
state = "/var/run/docker/containerd/daemon"
temp = ""
plugin_dir = ""
required_plugins = []
oom_score = 0
imports = []
[grpc]
  address = "/var/run/docker/containerd/containerd.sock"
  tcp_address = ""
  max_recv_message_size = 16777216
[ttrpc]
  address = ""
[debug]
  address = "/var/run/docker/containerd/containerd-debug.sock"
  level = ""
[metrics]
  address = ""
  grpc_histogram = false
[cgroup]
  path = ""
[timeouts]
  "io.containerd.timeout.bolt.open" = "0s"
[stream_processors]
"""
K3S = """version = 3
imports = ["config-v3.toml.d/*.toml"]
root = "/var/lib/rancher/k3s/agent/containerd"
state = "/run/k3s/containerd"
[grpc]
  address = "/run/k3s/containerd/containerd.sock"
[plugins.'io.containerd.internal.v1.opt']
  path = "/var/lib/rancher/k3s/agent/containerd"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'nvidia'.options]
  BinaryName = "/usr/bin/nvidia-container-runtime"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "rancher/mirrored-pause:3.6"
"""
GC = "[plugins.'io.containerd.gc.v1.scheduler']\n"
#: What each main file is called, and the files beside it.
FOUND: dict[str, tuple[str, dict[str, str]]] = {
    "empty": ("", {}),
    "docker": (DOCKER, {}),
    "dockerd": (DOCKERD, {}),
    "k3s": (K3S, {"config-v3.toml.d/a.toml": "version = 3\n[debug]\nlevel = 'INFO'\n"}),
    "carriage returns": ("version = 2\r\n[metrics]\r\n  address = '127.0.0.1:1338'\r\n", {}),
    "tabs": ("version = 2\n\t[grpc]\n\t\tuid = 1\n", {}),
    "imports without a suffix": ("version = 2\nimports = ['conf.d/*']\n", {"conf.d/10-x.conf": "version = 2\noom_score = 5\n"}),
    "itself": ("version = 2\nimports = ['config.toml', 'conf.d/*.toml']\n", {}),
    "version 3 imports 2": ("version = 3\nimports = ['a.toml']\n", {"a.toml": f"version = 2\n{GC}pause_threshold = 0.03\n"}),
    "version 2 imports 3": ("version = 2\nimports = ['a.toml']\n", {"a.toml": f"version = 3\n{GC}mutation_threshold = 55\n"}),
    "version 2 imports none": ("version = 2\nimports = ['a.toml']\n", {"a.toml": f"{GC}pause_threshold = 0.03\n"}),
    "an import with empty places": ("version = 2\nimports = ['a.toml']\n", {"a.toml": "version = 2\nroot = ''\n[grpc]\naddress = ''\n"}),
    "version 1": ("[plugins.cri]\nstream_server_port = '0'\n[plugins.linux]\nshim = 'x'\n", {}),
    "sizes": ("version = 2\n[grpc]\nmax_recv_message_size = -1\nmax_send_message_size = 4294967296\n", {}),
    "timeouts": ("version = 2\n[timeouts]\n'io.containerd.timeout.x' = '-5s'\n'y' = '1h2m3.5s'\n", {}),
    "proxies": ("version = 2\n[proxy_plugins.a]\ntype = 'snapshot'\n[proxy_plugins.b]\ntype = 'content'\naddress = '/run/b.sock'\n", {}),
    "stream processors": ("version = 2\n[stream_processors.'io.containerd.ocicrypt.decoder.v1.tar']\naccepts = ['a']\n", {}),
    "unknown keys": ("version = 2\nfoo = 'x'\n[grpc]\nbar = 1\n[debug.sub]\na = 1\n", {}),
    "every kind of value": ("version = 2\n[plugins.'io.x.y.z']\nd = 1979-05-27T07:32:00Z\na = inf\nb = 0xff\nc = [1, 2]\n", {}),
    "arrays of tables": ("version = 2\n[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\nplatform = 'linux/amd64'\n", {}),
    "empty tables": ("version = 2\n[plugins]\n[grpc]\n[ttrpc]\n[timeouts]\n[proxy_plugins]\n[stream_processors]\n", {}),
    "an oom_score out of range": ("version = 2\noom_score = 5000\n", {}),
}  # fmt: skip

GRPC, TCP, TTRPC = (f"plugins.'io.containerd.server.v1.{name}'" for name in ("grpc", "grpc-tcp", "ttrpc"))
DEBUG, METRICS = (f"plugins.'io.containerd.server.v1.{name}'" for name in ("debug", "metrics"))
HISTOGRAM = "[plugins.'io.containerd.metrics.v1.grpc-prometheus']\ngrpc_histogram = true\n"
#: Files that say where containerd 2.3's servers listen, in its own sections or at the top.
SERVERS: dict[str, tuple[str, dict[str, str]]] = {
    "4: everything": (f"version = 4\n[{GRPC}]\naddress = '/g'\nuid = 1\ngid = 2\nmax_recv_message_size = 5\nmax_send_message_size = 6\n[{TCP}]\naddress = '127.0.0.1:1'\n[{TTRPC}]\naddress = '/t'\nuid = 3\ngid = 4\n[{DEBUG}]\naddress = '/d'\n[{METRICS}]\naddress = '127.0.0.1:1338'\n{HISTOGRAM}", {}),
    "4: ttrpc does not follow": (f"version = 4\n[{GRPC}]\naddress = '/g'\nuid = 1\n", {}),
    "4: ttrpc's owner alone": (f"version = 4\n[{TTRPC}]\nuid = 3\n", {}),
    "4: what was at the top": ("version = 4\n[grpc]\naddress = '/g'\n[debug]\naddress = '/d'\nlevel = 'warn'\n[metrics]\ngrpc_histogram = true\n", {}),
    "4: nothing": ("version = 4\n", {}),
    "4 imports 3": ("version = 4\nimports = ['a.toml']\n", {"a.toml": "version = 3\n[metrics]\naddress = '127.0.0.1:1338'\n"}),
    "4 imports none": ("version = 4\nimports = ['a.toml']\n", {"a.toml": f"[{METRICS}]\naddress = '127.0.0.1:1338'\n"}),
    "3: at the top": ("version = 3\n[grpc]\naddress = '/g'\nuid = 1\ntcp_address = '127.0.0.1:1'\n[debug]\naddress = '/d'\ngid = 2\n", {}),
    "3: ttrpc": ("version = 3\n[grpc]\naddress = '/g'\n[ttrpc]\naddress = '/t'\nuid = 1\n", {}),
    "3: a section over the top": (f"version = 3\n[grpc]\naddress = '/g'\nuid = 7\n[{GRPC}]\ngid = 5\n", {}),
    "3: other sections over the top": (f"version = 3\n[debug]\naddress = '/d'\nuid = 7\n[metrics]\naddress = '127.0.0.1:1'\n[{DEBUG}]\ngid = 5\n{HISTOGRAM}", {}),
    "2: at the top": ("version = 2\n[grpc]\naddress = '/g'\ngid = 1\n[metrics]\naddress = '127.0.0.1:1338'\ngrpc_histogram = true\n", {}),
}  # fmt: skip


def as_containerd(settings: Settings) -> dict[str, object]:
    """The settings of our servers by containerd's names; a default of ours is containerd's."""
    ours, theirs = Settings(), "/run/containerd/containerd.sock"
    grpc, debug, metrics = settings.grpc, settings.debug, settings.metrics

    def address(value: str) -> str:
        return value.replace(ours.grpc.address, theirs) if value.startswith(ours.grpc.address) else value

    def owner(number: int) -> int:
        return max(number, 0)

    uid, gid = settings.ttrpc_owner
    return {
        "grpc": (
            address(grpc.address),
            owner(grpc.uid),
            owner(grpc.gid),
            grpc.max_recv_message_size,
            grpc.max_send_message_size,
        ),
        "tcp": grpc.tcp_address,
        "ttrpc": (address(settings.ttrpc_address), owner(uid), owner(gid)),
        "debug": (debug.address, owner(debug.uid), owner(debug.gid)),
        "metrics": ("" if metrics.address == ours.metrics.address else metrics.address, metrics.grpc_histogram),
    }


@pytest.mark.parametrize("name", SERVERS)
def test_the_servers_are_where_containerd_2_3_has_them(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, *SERVERS[name])
    command = [path_of("containerd23/containerd"), "-c", path, "config", "dump"]
    dump = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    sections = tomllib.loads(dump)["plugins"]
    grpc, tcp, ttrpc, debug, metrics = (
        sections[f"io.containerd.server.v1.{one}"] for one in ("grpc", "grpc-tcp", "ttrpc", "debug", "metrics")
    )
    expected = {
        "grpc": tuple(grpc[key] for key in ("address", "uid", "gid", "max_recv_message_size", "max_send_message_size")),
        "tcp": tcp["address"],
        "ttrpc": tuple(ttrpc[key] for key in ("address", "uid", "gid")),
        "debug": tuple(debug[key] for key in ("address", "uid", "gid")),
        "metrics": (metrics["address"], sections["io.containerd.metrics.v1.grpc-prometheus"]["grpc_histogram"]),
    }
    assert as_containerd(load(path).settings) == expected
    (tmp_path / "migrated.yaml").write_text(holdfast("migrate", path).stdout)
    if not SERVERS[name][1]:
        assert as_containerd(load(tmp_path / "migrated.yaml").settings) == expected


def holdfast(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "holdfast", "config", *words]
    return subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=False)


def written(folder: Path, main: str, beside: dict[str, str]) -> str:
    for name, text in {"config.toml": main, **beside}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return str(folder / "config.toml")


@pytest.mark.parametrize("name", FOUND)
def test_what_containerd_accepts_is_accepted_and_migrates_to_what_is(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, *FOUND[name])
    real = [
        subprocess.run([path_of(each), "-c", path, "config", "dump"], capture_output=True, cwd=tmp_path, check=False)
        for each in ("containerd", "containerd2/containerd", "containerd23/containerd")
    ]
    assert [done.returncode for done in real] == [0, 0, 0], real
    checked = holdfast("check", path)
    assert (checked.returncode, "holdfast: " in checked.stderr) == (0, False), checked.stderr
    migrated = holdfast("migrate", path)
    (tmp_path / "migrated.yaml").write_text(migrated.stdout)
    again = holdfast("check", str(tmp_path / "migrated.yaml"))
    assert (again.returncode, again.stderr.count("unknown")) == (0, 0), again.stderr


@pytest.mark.parametrize("which", ["containerd", "containerd2/containerd", "containerd23/containerd"])
def test_its_default_configuration_is_accepted_and_migrates(which: str, tmp_path: Path) -> None:
    default = subprocess.run([path_of(which), "config", "default"], capture_output=True, text=True, check=True).stdout
    path = written(tmp_path, default, {})
    assert holdfast("check", path).returncode == 0
    (tmp_path / "migrated.yaml").write_text(holdfast("migrate", path).stdout)
    assert holdfast("check", "--strict", str(tmp_path / "migrated.yaml")).returncode == 0
