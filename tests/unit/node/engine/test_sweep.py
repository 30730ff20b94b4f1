"""A rescan of all processes in slices, so that events are served meanwhile."""

import time

import pytest
from holdfast.node.model.placement import Cause

from tests.fakes.node import Node
from tests.fakes.placement import rules

MANY, SLICE = 2_000, 100
STALL_S = 0.05  # of processor time


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path)
    made.set_rules(rules({"name": "value", "match": {"comm": "a"}, "oom_score_adj": 500}))
    yield made
    made.stop()


def test_thousands_that_end_at_once_are_forgotten_a_slice_at_a_time_and_who_comes_meanwhile_is_held(node):
    kernel = node.kernel
    programs = [kernel.start("a", pid=pid) for pid in range(10_000, 10_000 + MANY)]
    node.settle()
    assert len(node.reconciler.entries) == MANY
    for program in programs:
        del kernel.processes[program.pid]
    node.sweeps.want(Cause.ASKED)
    newcomers = []
    while node.sweeps.pending:
        known, begun = len(node.reconciler.entries), time.thread_time()
        node.sweep_step()
        assert time.thread_time() - begun < STALL_S
        assert known - len(node.reconciler.entries) <= SLICE
        newcomers.append(node.started("a"))
        assert newcomers[-1].adj == 500
    assert len(newcomers) > MANY // SLICE
    assert set(node.reconciler.entries) == set(node.journal.table.processes) == {one.pid for one in newcomers}


def test_a_group_that_the_mover_makes_during_a_sweep_keeps_its_settings(node):
    node.set_rules(
        rules({"name": "group", "match": {"comm": "a"}, "cgroup": {"path": "/ours", "settings": {"pids.max": 7}}})
    )
    program = node.kernel.start("a", pid=20_000)
    node.sweeps.want(Cause.ASKED)
    while node.sweeps.pending:
        node.sweep_step()  # looks at the process: there is no such group
        node.queue.drain()  # makes it, sets its file, moves the process
    assert (program.group, node.kernel.files["/ours", "pids.max"]) == ("/ours", "7")
