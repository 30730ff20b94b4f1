"""The debug endpoint of a running daemon, on a socket and on TCP, asked with curl as an operator does."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.needs import path_of, peer
from tests.peers.case import ctr

pytestmark = peer("curl", "ctr")


@pytest.fixture(params=["unix", "tcp"])
def curl(request, ours, free_port):
    """The daemon, and a way to ask its debug endpoint."""
    address = "@DIR@/d.sock" if request.param == "unix" else f"127.0.0.1:{free_port()}"
    daemon = ours(tables=f'[debug]\n  address = "{address}"\n  level = "info"')
    where = (
        ["--unix-socket", str(daemon.dir / "d.sock"), "http://x"] if request.param == "unix" else [f"http://{address}"]
    )

    def ask(path: str, *options: str) -> str:
        command = [path_of("curl"), "--silent", "--fail-with-body", *options, *where[:-1], where[-1] + path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return daemon, ask


def test_it_shows_stacks_tasks_and_configuration(curl):
    daemon, ask = curl
    assert "MainThread" in ask("/debug/stacks")
    assert len(ask("/debug/tasks").splitlines()) > 3
    assert json.loads(ask("/debug/config"))["grpc"]["address"] == daemon.address


@pytest.mark.parametrize("curl", ["tcp"], indirect=True)
def test_on_an_address_it_changes_nothing_and_tells_where_to_ask(curl):
    _, ask = curl
    with pytest.raises(subprocess.CalledProcessError) as refused:
        ask("/debug/loglevel", "--request", "PUT", "--data", "debug")
    assert refused.value.stdout == "only a unix socket takes changes: set debug.address to a path\n"
    assert ask("/debug/loglevel") == "info\n"


@pytest.mark.parametrize("curl", ["unix"], indirect=True)
def test_it_changes_the_log_level(curl):
    daemon, ask = curl
    assert ask("/debug/loglevel") == "info\n"
    ctr(daemon, "events", "bad==")
    assert not [line for line in daemon.err if "level=debug" in line]
    assert ask("/debug/loglevel", "--request", "PUT", "--data", "debug") == "debug\n"
    ctr(daemon, "events", "bad==")
    assert "level=debug" in daemon.line("level=debug")


@pytest.mark.parametrize("curl", ["unix"], indirect=True)
def test_a_level_nobody_knows_is_refused_and_nothing_changes(curl):
    _, ask = curl
    with pytest.raises(subprocess.CalledProcessError) as refused:
        ask("/debug/loglevel", "--request", "PUT", "--data", "loud")
    assert "loud" in refused.value.stdout
    assert ask("/debug/loglevel") == "info\n"
