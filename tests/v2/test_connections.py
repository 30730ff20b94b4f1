"""Floods of connections, calls and bytes where there is cgroup v2 alone: bounds hold, and the daemon goes on working.

Short, against one daemon, one flood after the other. How fast it answers meanwhile is measured on the host: where the
processor is emulated, times say nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.hostile import kit
from tests.hostile.conftest import attack  # noqa: F401 (a fixture)
from tests.hostile.kit import ELSEWHERE, HERE
from tests.hostile.test_connections import PREFACE, UNENDED

pytestmark = pytest.mark.timeout(300)
MOST_OPEN = 512  # descriptors: three listeners with 64 connections each, 256 that said nothing yet, and its own
SHARED = "unix"  # the socket, which the attackers' group may use

#: The listener, the attack, where it connects to (a port's number, or the socket's path), and what it is told.
FLOODS = {
    "silent connections": ("health", "idle", lambda to: (HERE, to, 600)),
    "connections that begin": ("tcp", "idle", lambda to: (ELSEWHERE, to, 600, PREFACE)),
    "requests that begin": ("metrics", "idle", lambda to: (ELSEWHERE, to, 600, UNENDED)),
    "watches without end": ("health", "streams", lambda to: (to, 200, 100, "/grpc.health.v1.Health/Watch")),
    "calls and leaves": ("health", "hit_and_run", lambda to: (to, 8, "/grpc.health.v1.Health/Watch")),
    "calls without a request": (
        "tcp",
        "streams",
        lambda to: (to, 100, 100, "/holdfast.placement.v1.Placement/Status", "none"),
    ),
    "requests that are almost sent": ("tcp", "requests", lambda to: (to, 32, 16 << 20)),
    "a head that never ends": ("metrics", "trickle", lambda to: (to, 200)),
    "silent members of the socket's group": (SHARED, "idle", lambda to: (to, 0, 1500)),
    "their calls without end": (SHARED, "streams", lambda to: (to, 100, 100, "/holdfast.placement.v1.Placement/Watch")),
}


@pytest.fixture(scope="module")
def target():
    with tempfile.TemporaryDirectory(prefix="hf-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # another user is the one who connects
        with kit.target(Path(folder), grpc=f"  gid: {kit.NOBODY}") as made:
            yield made


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_takes_nothing_from_anybody(target, attack, flood):  # noqa: F811
    listener, name, arguments = FLOODS[flood]
    where = target.address if listener == SHARED else target.ports[listener]
    attacker = attack(name, *arguments(where))
    target.check()
    target.enforce()
    assert target.metric("holdfast_placement_engine_up") == 1
    assert not attacker.ended(), attacker.said
    assert not target.running.ended(), target.running.said[-4000:]
    assert target.rss() < kit.memory_bound()
    assert len(list(Path(f"/proc/{target.pid}/fd").iterdir())) < MOST_OPEN
