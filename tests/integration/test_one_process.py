"""A failure about one process, or in one group, affects no other."""

import subprocess
import sys

import pytest
from holdfast.cgroups import UNIFIED
from holdfast.node.engine.loop import MOST_FAILURES
from holdfast.node.engine.rate_limit import MOST_EVENTS
from holdfast.node.proc.host import members_below, memory_tree

from tests.integration.node_kit import NAME, adj_of, counter, set_adj

RAISE = {"match": {"comm": NAME}, "oom_score_adj": 300}
pytestmark = pytest.mark.root


def test_a_mistake_about_one_process_leaves_it_out_and_the_rest_goes_on(run, program, sleeper, monkeypatch):
    engine = run()
    examiner = engine.engine._loop.examiner
    facts, cursed = examiner.fact_reader.facts, []

    def broken(stat_line, *rest, **more):
        if stat_line.pid in cursed:
            raise IndexError("a mistake")
        return facts(stat_line, *rest, **more)

    monkeypatch.setattr(examiner.fact_reader, "facts", broken)
    before, cursed_one = sleeper(program, "600"), sleeper(program, "600")
    cursed.append(cursed_one.pid)
    engine.set_rules(RAISE)
    for _ in range(2 * MOST_FAILURES):
        engine.engine._loop.calls.tell(lambda: examiner.examine(cursed_one.pid))
        engine.settle()
    engine.sweep()
    after = sleeper(program, "600")
    engine.sweep()
    assert [adj_of(process.pid) for process in (before, cursed_one, after)] == [300, adj_of("self"), 300]
    assert engine.engine.trouble == ""
    assert counter(engine.engine.metrics.process_errors) >= 2 * MOST_FAILURES


def test_a_call_that_fails_does_not_take_the_others_with_it(run):
    engine = run()

    def broken():
        raise IndexError("a mistake")

    for _ in range(2 * MOST_FAILURES):
        engine.engine._loop.calls.tell(broken)
    engine.settle()
    assert engine.engine.trouble == ""


def test_a_group_whose_members_cannot_be_told_hides_nobody_else(hierarchy, group, sleeper):
    tree = hierarchy.trees[UNIFIED]
    tree.create(f"{group}/delegated/threaded")
    tree.create(f"{group}/usual")
    tree.write(f"{group}/delegated/threaded", "cgroup.type", "threaded")
    process = sleeper()
    tree.join(f"{group}/usual", process.pid)
    assert members_below(hierarchy, [group]) == {process.pid}


def test_a_process_that_renames_itself_in_a_loop_costs_a_bounded_share_and_the_rescan_sees_it(run, program, sleeper):
    engine = run(RAISE)
    loop = engine.engine._loop
    if loop.feed.why_not:
        pytest.skip(loop.feed.why_not)
    code = (
        "import ctypes, sys\n"
        "prctl = ctypes.CDLL(None).prctl\n"
        f"for at in range({400 * MOST_EVENTS}): prctl(15, b'hf-%d' % at, 0, 0, 0)\n"
        f"prctl(15, b'{NAME}', 0, 0, 0)\n"
        "print('done', flush=True)\n"
        "sys.stdin.read()\n"
    )
    noisy = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with noisy:
        try:
            assert noisy.stdout.readline() == "done\n"
            engine.settle()
            assert loop._limits.of_event.slowed >= 1
            assert loop._limits.of_event.skipped >= 1
            read = counter(engine.engine.metrics.events, "comm")
            assert read < 200 * MOST_EVENTS, "the kernel was asked to tell no more of it"
            process = sleeper(program, "600")
            engine.settle()
            assert adj_of(process.pid) == 300
            engine.sweep()
            assert adj_of(noisy.pid) == 300
        finally:
            noisy.kill()


def test_a_list_says_what_each_process_has_at_that_moment(run, program, sleeper, hierarchy, group):
    engine = run(RAISE, rescan_s=3600)
    process, ended = sleeper(program, "600"), sleeper(program, "600")
    engine.sweep()
    set_adj(process.pid, 400)
    tree = memory_tree(hierarchy)
    tree.create(group)
    tree.join(group, process.pid)
    ended.kill()
    ended.wait()
    (now,) = engine.engine.placements_now("r1")
    assert (now.pid, now.oom_score_adj, now.group) == (process.pid, 400, group)
    assert engine.engine.placements_now("other") == ()
