"""Servers as plugins: disabling, requiring and failing each says what containerd 2.3 says, with the same file."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from holdfast.plugins import installed

from tests.needs import path_of, peer
from tests.peers import daemon
from tests.peers.case import last_word
from tests.peers.daemon import Daemon
from tests.running import PATIENCE_S

pytestmark = [peer("containerd23/containerd", "containerd23/ctr"), pytest.mark.root]

SERVER, METRICS = "io.containerd.server.v1", "io.containerd.metrics.v1"
EACH = [f"{SERVER}.{name}" for name in ("grpc", "grpc-tcp", "ttrpc", "debug", "metrics")]
EACH += [f"{METRICS}.{name}" for name in ("grpc-prometheus", "grpc-otel")]
FILE = """\
version = 4
root = "{dir}/root"
state = "{dir}/state"
required_plugins = {required}
disabled_plugins = {disabled}
[plugins."io.containerd.server.v1.grpc"]
  address = "{grpc}"
[plugins."io.containerd.server.v1.grpc-tcp"]
  address = "{tcp}"
[plugins."io.containerd.server.v1.ttrpc"]
  address = "{ttrpc}"
[plugins."io.containerd.server.v1.metrics"]
  address = "{metrics}"
[plugins."io.containerd.server.v1.debug"]
  address = "{debug}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
"""


Starter = Callable[[Path, Path], Daemon]
Start = Callable[..., Daemon]


@pytest.fixture
def both(short_dir: Path) -> Start:
    """Starts either of the two with the same file, in a folder of its own."""

    def start(starter: Starter, required: Sequence[str] = (), disabled: Sequence[str] = (), **addresses: str) -> Daemon:
        own = short_dir / starter.__name__[:1]
        own.mkdir()
        out = ["io.containerd.grpc.v1.cri", "io.holdfast.placement.v1.rules", *disabled]
        where = {"grpc": "@DIR@/s.sock", "ttrpc": "@DIR@/s.sock.ttrpc", "tcp": "", "metrics": "", "debug": ""}
        where = {name: address.replace("@DIR@", str(own)) for name, address in {**where, **addresses}.items()}
        (own / "c.toml").write_text(FILE.format(dir=own, required=list(required), disabled=out, **where))
        return starter(own, own / "c.toml")

    return start


def refusals(both: Start, **settings: object) -> tuple[str, str]:
    """Return the last words of each of the two."""
    words = []
    for starter in (daemon.containerd23, daemon.holdfast):
        with both(starter, **settings) as running:
            assert not running.booted()
            assert running.end() == 1
            words.append(last_word(running))
    return words[0], words[1]


def listed(running: Daemon, kind: str) -> set[tuple[str, ...]]:
    """ID and status of each plugin of one type, as ``ctr`` prints them."""
    command = [path_of("containerd23/ctr"), "--address", running.address, "plugins", "ls", f"type=={kind}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    rows = [line.split() for line in done.stdout.splitlines()[1:] if line.startswith(kind)]
    return {(row[1], row[-1]) for row in rows}


@pytest.mark.parametrize("uri", EACH)
def test_one_that_is_required_and_disabled_is_not_included(both, uri):
    theirs, ours = refusals(both, required=[uri], disabled=[uri])
    assert ours == theirs == f"required plugin [{uri}] not included"


@pytest.mark.parametrize("name", ["grpc-tcp", "debug", "metrics"])
def test_one_without_an_address_is_skipped_and_cannot_be_required(both, name):
    theirs, ours = refusals(both, required=[f"{SERVER}.{name}"])
    assert ours == theirs == f"load required plugin {SERVER}.{name}: skip plugin"


def test_ttrpc_without_a_service_is_skipped_and_cannot_be_required(both):
    theirs, ours = refusals(both, required=[f"{SERVER}.ttrpc"], disabled=["io.containerd.grpc.v1.events"])
    assert ours == theirs == f"load required plugin {SERVER}.ttrpc: no ttrpc services configured: skip plugin"


def test_tcp_without_a_service_is_skipped_and_cannot_be_required(both):
    words = f"load required plugin {SERVER}.grpc-tcp: no tcp grpc services configured: skip plugin"
    settings = {"required": [f"{SERVER}.grpc-tcp"], "tcp": "127.0.0.1:0"}
    none = [one.uri for one in installed() if ".grpc.v1." in one.uri]
    assert refusals(both, disabled=none, **settings) == (words, words)


def test_built_in_services_of_ours_are_on_tcp_so_that_it_can_be_required(both):
    with both(daemon.holdfast, required=[f"{SERVER}.grpc-tcp"], tcp="127.0.0.1:0") as running:
        assert ("grpc-tcp", "ok") in listed(running.ready(), SERVER)


def test_debug_needs_no_plugin_for_its_pages_and_can_be_required(both):
    settings = {"required": [f"{SERVER}.debug"], "disabled": ["io.containerd.http.v1.pprof"], "debug": "@DIR@/d.sock"}
    with both(daemon.containerd23, **settings) as running:
        assert not running.booted()
        assert running.end() == 1
        assert last_word(running) == f"load required plugin {SERVER}.debug: skip plugin"
    with both(daemon.holdfast, **settings) as running:
        assert ("debug", "ok") in listed(running.ready(), SERVER)


def test_an_empty_address_of_ttrpc_is_none(both):
    for starter in (daemon.containerd23, daemon.holdfast):
        with both(starter, ttrpc="") as running:
            running.ready()
            assert [path.name for path in running.dir.iterdir() if path.is_socket()] == ["s.sock"]


def test_ttrpc_without_an_address_cannot_be_required(both):
    theirs, ours = refusals(both, required=[f"{SERVER}.ttrpc"], ttrpc="")
    assert theirs == f"load required plugin {SERVER}.ttrpc: skip plugin"
    assert ours == f"required plugin [{SERVER}.ttrpc] not included"


def test_an_empty_address_of_grpc_is_the_failure_of_a_plugin_there_and_of_the_file_here(both):
    theirs, ours = refusals(both, required=[f"{SERVER}.grpc"], grpc="")
    assert theirs == f"load required plugin {SERVER}.grpc: grpc address cannot be empty: invalid argument"
    assert ours == "@DIR@/c.toml:7: grpc.address: grpc address cannot be empty: invalid argument"


@pytest.mark.parametrize(("name", "purpose"), [("grpc", "main endpoint"), ("ttrpc", "main ttrpc endpoint")])
def test_one_whose_socket_cannot_be_made_ends_the_start(both, name, purpose):
    theirs, ours = refusals(both, **{name: "@DIR@/c.toml/s.sock"})
    assert theirs.startswith(
        f"failed to get listener for {purpose}: failed to create unix socket on @DIR@/c.toml/s.sock"
    )
    assert ours == f"failed to get listener for {purpose}: @DIR@/c.toml/s.sock: Not a directory"


@pytest.mark.parametrize("name", ["debug", "metrics"])
def test_one_whose_address_is_in_use_ends_the_start(both, name):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        theirs, ours = refusals(both, **{name: address})
    assert ours == theirs
    assert ours == f"failed to get listener for {name} endpoint: listen tcp {address}: bind: address already in use"


@pytest.mark.parametrize("uri", [None, *(uri for uri in EACH if uri != f"{SERVER}.grpc")])
def test_one_that_is_disabled_is_not_listed_and_the_others_are_as_they_are(both, uri):
    seen = []
    for starter in (daemon.containerd23, daemon.holdfast):
        with both(starter, disabled=[uri] if uri else []) as running:
            running.ready()
            seen.append(listed(running, SERVER) | listed(running, METRICS))
            assert (running.dir / "s.sock.ttrpc").exists() == (uri != f"{SERVER}.ttrpc")
    theirs, ours = seen
    assert ours - {("health", "skip"), ("web", "skip")} == theirs
    assert (uri or "").removeprefix(f"{SERVER}.").removeprefix(f"{METRICS}.") not in dict(ours)


def test_without_grpc_both_serve_and_neither_has_the_socket(both):
    for starter in (daemon.containerd23, daemon.holdfast):
        with both(starter, disabled=[f"{SERVER}.grpc"]) as running:
            running.ready()
            assert (running.dir / "s.sock.ttrpc").exists()
            assert not (running.dir / "s.sock").exists()
