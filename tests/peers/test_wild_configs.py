"""Configurations as distributions write them, with their own paths: real containerd 2.3 and holdfast do the same.

Each daemon runs in mount and network namespaces of its own, in which ``/etc``, ``/run``, ``/opt`` and ``/var/lib`` are
folders of the test: the files are read at the paths, and the sockets made at the addresses, that are in use out there.
"""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from holdfast.config import load

from tests.needs import path_of, peer
from tests.peers.case import Seen, last_word, states
from tests.peers.cases import as_newer
from tests.peers.cases.wild import REFUSED, WILD
from tests.peers.cases.words import score
from tests.peers.daemon import ENVIRON, HOLDFAST, Daemon
from tests.peers.test_containerd_configs import as_containerd
from tests.running import PATIENCE_S

pytestmark = [peer("containerd23/containerd", "ctr", "unshare", "ip"), pytest.mark.root]

#: A command in namespaces in which these folders are the test's; ``/etc`` keeps what it has besides.
INSIDE = ("unshare", "--mount", "--net", "--propagation", "private", "sh", "-ec")
SCRIPT = """
ip link set lo up
for each in run opt var/lib; do mount --bind "$0/$each" "/$each"; done
mount -t overlay overlay -o "lowerdir=$0/etc:/etc" /etc
exec "$@"
"""
#: Names by which the two daemons differ on purpose: each has directories and sockets of its own by default.
OURS, THEIRS = "holdfast", "containerd"
GRPC, SCHEDULER = "io.containerd.server.v1.grpc", "io.containerd.gc.v1.scheduler"
PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
THRESHOLDS = ("pause_threshold", "deletion_threshold", "mutation_threshold")


class Host:
    """The folders that one daemon has for a machine's, with the files of a configuration in them."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self.folder, (self.main, *_) = folder, files
        for name in ("run", "opt", "var/lib", "etc"):
            (folder / name).mkdir(parents=True)
        for path, text in files.items():
            self.outside(path).parent.mkdir(parents=True, exist_ok=True)
            self.outside(path).write_text(text)

    def outside(self, path: str) -> Path:
        """Where the test finds a path of the daemon's."""
        return self.folder / path.replace("/var/run/", "/run/", 1).lstrip("/")

    def inside(self, *words: str | Path) -> list[str]:
        """The command by which a program sees this host."""
        return [*INSIDE, SCRIPT, str(self.folder), *map(str, words)]

    def output(self, *words: str | Path) -> str:
        done = subprocess.run(
            self.inside(*words), env=ENVIRON | PATH, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sockets(self) -> list[str]:
        """Path, mode and owner of each socket of a server; NRI's and those of CRI are not compared."""
        found = [(path, path.stat()) for path in self.folder.rglob("*.sock*") if path.is_socket()]
        lines = [
            f"{path.relative_to(self.folder)} {stat.st_mode:o} {stat.st_uid}:{stat.st_gid}"
            for path, stat in found
            if path.name != "nri.sock"
        ]
        return sorted(line.replace(OURS, THEIRS) for line in lines)


def settings_of_containerd(dump: str) -> dict[str, Any]:
    """What its ``config dump`` says of the keys that both have."""
    tree = tomllib.loads(dump)
    plugins = tree["plugins"]
    grpc, tcp, ttrpc, debug, metrics = (
        plugins[f"io.containerd.server.v1.{one}"] for one in ("grpc", "grpc-tcp", "ttrpc", "debug", "metrics")
    )
    return {
        "root": (tree["root"], tree["state"]),
        "self": (tree["oom_score"], tree["cgroup"]["path"]),
        "log": (tree["debug"]["level"] or "info", tree["debug"]["format"] or "text"),
        "required": sorted(tree["required_plugins"]),
        "disabled": sorted(tree["disabled_plugins"]),
        "proxies": {name: (one["type"], one["address"]) for name, one in tree.get("proxy_plugins", {}).items()},
        "collector": [plugins[SCHEDULER][key] for key in THRESHOLDS],
        "grpc": tuple(grpc[key] for key in ("address", "uid", "gid", "max_recv_message_size", "max_send_message_size")),
        "tcp": tcp["address"],
        "ttrpc": tuple(ttrpc[key] for key in ("address", "uid", "gid")),
        "debug": tuple(debug[key] for key in ("address", "uid", "gid")),
        "metrics": (metrics["address"], plugins["io.containerd.metrics.v1.grpc-prometheus"]["grpc_histogram"]),
    }


def settings_of_holdfast(dump: str, copy: Path) -> dict[str, Any]:
    """The same keys of our ``config dump``; a default that is ours alone is containerd's."""
    tree = yaml.safe_load(dump)
    copy.write_text(dump)
    return {
        "root": tuple(tree[key].replace(OURS, THEIRS) for key in ("root", "state")),
        "self": (tree["oom_score"], tree["cgroup"]["path"]),
        "log": (tree["debug"]["level"] or "info", tree["debug"]["format"]),
        "required": sorted(tree["required_plugins"]),
        "disabled": sorted(tree["disabled_plugins"]),
        "proxies": {name: (one["type"], one["address"]) for name, one in tree.get("proxy_plugins", {}).items()},
        "collector": [tree["plugins"][SCHEDULER][key] for key in THRESHOLDS],
        **as_containerd(load(str(copy)).settings),
    }


def outcome(host: Host, *command: str | Path, address: str) -> dict[str, Any]:
    """A user's view of a daemon on its host: its plugins, sockets, score and end; or its last word."""
    with Daemon(host.inside(*command), host.folder, env=ENVIRON, notify=host.folder / "notify") as daemon:
        if not daemon.booted():
            return {"refused": (daemon.end(), last_word(daemon))}
        daemon.address = str(host.outside(address))
        plugins = as_newer(Seen(plugins=states(daemon))).plugins
        seen = {"plugins": plugins, "sockets": host.sockets(), "score": score(daemon)}
        return {**seen, "status": daemon.stop()}


@pytest.mark.parametrize("name", WILD)
def test_both_read_the_same_from_it(name, short_dir):
    real, mine = (Host(short_dir / letter, WILD[name]) for letter in "ch")
    theirs = real.output(path_of("containerd23/containerd"), "-c", real.main, "config", "dump")
    ours = mine.output(*HOLDFAST, "config", "dump", "-c", mine.main)
    assert settings_of_holdfast(ours, short_dir / "dump.yaml") == settings_of_containerd(theirs)


@pytest.mark.parametrize("name", WILD)
def test_both_do_the_same_with_it_or_the_page_says_what(name, short_dir):
    real, mine = (Host(short_dir / letter, WILD[name]) for letter in "ch")
    dump = real.output(path_of("containerd23/containerd"), "-c", real.main, "config", "dump")
    address = tomllib.loads(dump)["plugins"][GRPC]["address"]
    theirs = outcome(real, path_of("containerd23/containerd"), "-c", real.main, address=address)
    assert theirs["sockets"]
    own = address if any(address in text for text in WILD[name].values()) else address.replace(THEIRS, OURS)
    ours = outcome(mine, *HOLDFAST, "run", "-c", mine.main, address=own)
    assert ours == ({"refused": (1, REFUSED[name])} if name in REFUSED else theirs)
