"""Command lines that an ordinary user chooses, beside rules with globs and expressions."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

import pytest

from tests.hostile.node_kit import Stranger, daemon
from tests.integration.conftest import group, hierarchy  # noqa: F401 (fixtures)
from tests.integration.node_kit import adj_of
from tests.running import until

pytestmark = pytest.mark.root
RULES = [
    {"name": "globs", "match": {"cmdline": "*java*-jar*app*"}, "oom_score_adj": 500},
    {"name": "own", "match": {"cmdline": "re:(?:.*java)*.*(a|aa)+x"}, "oom_score_adj": 501},
    {"name": "long", "match": {"cmdline": "*-Xmx*"}, "oom_score_adj": 502},
]


@pytest.fixture
def stranger(short_dir, hierarchy, group):  # noqa: F811
    os.chmod(short_dir, 0o755)
    with ExitStack() as stack:
        yield Stranger(short_dir, next(iter(hierarchy.trees.values())), group, stack)


@pytest.mark.parametrize("words", ["java-jar" * 4000, "aa" * 16_000, "java-jar" * 400 + "aa" * 4000])
def test_no_command_line_holds_the_daemon_up(short_dir, stranger, words):
    with daemon(short_dir, *RULES) as target:
        started = [stranger.start(stranger.program(b"legacy"), argument=words + str(number)) for number in range(20)]
        stranger.witnessed()
        for some in started:
            assert adj_of(some.pid) == 0
        target.answers(started[0].pid)
        target.is_well()
        assert target.running.stop(signal.SIGTERM) == 0


def test_a_command_line_is_looked_at_for_its_first_4096_bytes(short_dir, stranger):
    with daemon(short_dir, *RULES) as target:
        near = stranger.start(stranger.program(b"near"), argument="y" * 4000 + "-Xmx1g")
        far = stranger.start(stranger.program(b"far"), argument="y" * 4096 + "-Xmx1g")
        until(lambda: adj_of(near.pid) == 502)
        stranger.witnessed()
        assert adj_of(far.pid) == 0
        target.is_well()
