"""The engine over the real kernel: what any Linux with cgroups and root must show, whichever version is mounted."""

import contextlib
import itertools
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from holdfast.cgroups import UNIFIED, Mode
from holdfast.errors import FailedPrecondition, InvalidArgument, KernelRefused, NotFound, ProcessGone, Unavailable
from holdfast.node.engine import feed, performer
from holdfast.node.engine import loop as reconcile
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import GroupRow, OverrideRow
from holdfast.node.model.decision import Field, Reason
from holdfast.node.model.placement import Cause, Happening, State
from holdfast.node.plan.preview import look_ahead
from holdfast.node.proc import connector as procconn
from holdfast.node.proc.host import capabilities
from holdfast.process import read_boot_id

from tests.fakes.placement import rules
from tests.integration.conftest import SmallDisk, until_asleep
from tests.integration.node_kit import NAME, adj_of, counter, group_of, set_adj, stop_process, take_number
from tests.running import PATIENCE_S, until

pytestmark = pytest.mark.root

HELD, PLANNED, DRIFTED, RELEASED, FAILED = (
    Happening.HELD,
    Happening.PLANNED,
    Happening.DRIFTED,
    Happening.RELEASED,
    Happening.FAILED,
)
RAISE = {"match": {"comm": NAME}, "oom_score_adj": 300}
LEADER, RENAMED = (f"hf-{what}-{os.getpid()}" for what in "lr")  # no other run's processes have these names, or rules


@pytest.fixture
def where(hierarchy):
    """The name of a hierarchy whose groups the tests may use, and its controller."""
    return UNIFIED if hierarchy.mode is Mode.UNIFIED else hierarchy.name_of("pids")


@pytest.fixture
def move(group):
    return {"match": {"comm": NAME}, "cgroup": {"path": f"{group}/a", "controllers": ["pids"]}}


def test_a_process_that_was_there_and_one_that_comes_are_held(run, program, sleeper):
    before = sleeper(program, "600")
    engine = run(RAISE)
    after = sleeper(program, "600")
    engine.settle()
    assert [adj_of(p.pid) for p in (before, after)] == [300, 300]
    assert engine.happenings(after.pid) == [HELD]
    placement = engine.placement(after.pid)
    assert (placement.rule, placement.state, placement.adj_before, placement.comm) == ("r1", State.HELD, 0, NAME)


def rows_of(engine, pid):
    held = engine.table.processes.get(pid)
    return held.values if held else []


def test_a_process_born_with_a_rules_value_is_given_what_was_asked_for_when_the_rule_goes(run, program, sleeper):
    engine = run(RAISE)
    process = sleeper(program, "600")
    engine.settle()
    engine.engine.restore(pid=process.pid).result(60)  # as a runtime leaves it: the value, and no row of ours
    set_adj(process.pid, 300)
    engine.set_rules(RAISE)
    assert (engine.placement(process.pid).adj_before, rows_of(engine, process.pid)) == (None, [])
    for _ in range(2):
        engine.engine.adopt(process.pid, 77, 300, "r1").result(60)
        assert engine.placement(process.pid).adj_before == 77
    (row,) = rows_of(engine, process.pid)
    assert (row.before, row.written, row.rule) == (77, 300, "r1")
    engine.set_rules()
    assert adj_of(process.pid) == 77


def test_a_process_is_not_adopted_with_a_value_it_has_not(run, program, sleeper):
    engine = run(RAISE)
    process = sleeper(program, "600")
    engine.settle()
    rows = rows_of(engine, process.pid)
    engine.engine.adopt(process.pid, 77, 299, "r1").result(60)
    engine.engine.adopt(2**22 - 1, 77, 300, "r1").result(60)  # and nobody has this number
    assert rows_of(engine, process.pid) == rows
    assert rows_of(engine, 2**22 - 1) == []


def test_a_process_born_under_a_rule_that_is_no_more_is_given_what_was_asked_for(run, program, sleeper):
    engine = run()
    process = sleeper(program, "600")
    set_adj(process.pid, 300)
    engine.sweep()
    engine.engine.adopt(process.pid, 77, 300, "gone").result(60)
    assert (adj_of(process.pid), rows_of(engine, process.pid)) == (77, [])


def test_what_was_asked_for_counts_where_another_rule_came_before_we_could_say_it(run, program, sleeper):
    process = sleeper(program, "600")
    set_adj(process.pid, 250)  # as a runtime created it for a rule of ours, while we were away
    engine = run(RAISE)
    assert engine.placement(process.pid).adj_before == 250
    engine.engine.adopt(process.pid, 77, 250, "gone").result(60)
    assert (adj_of(process.pid), engine.placement(process.pid).adj_before) == (300, 77)
    engine.set_rules()
    assert adj_of(process.pid) == 77


def test_what_was_asked_for_counts_where_we_were_quicker_than_the_runtime(run, program, sleeper):
    engine = run(RAISE)
    process = sleeper(program, "600")
    engine.settle()
    assert engine.placement(process.pid).adj_before == 0
    engine.engine.adopt(process.pid, 77, 300, "r1").result(60)
    assert engine.placement(process.pid).adj_before == 77
    engine.set_rules()
    assert adj_of(process.pid) == 77


def test_others_are_left_alone(run, sleeper):
    other = sleeper("sleep", "600")
    engine = run(RAISE)
    assert (adj_of(other.pid), engine.placement(other.pid)) == (adj_of(os.getpid()), None)


def test_a_process_that_was_renamed_is_held_at_once(run, tmp_path):
    engine = run({"match": {"comm": RENAMED}, "oom_score_adj": 250})
    code = "import sys; open('/proc/self/comm','w').write(sys.argv[1]); print(); input()"
    process = subprocess.Popen([sys.executable, "-c", code, RENAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    engine.settle()
    assert adj_of(process.pid) == 250
    process.communicate(b"\n")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_whose_first_thread_ended_is_moved_and_restored(run, group, where, when):
    """The kernel calls it a zombie, and prints its v1 groups as the root's; its other threads run, with our value."""
    code = (
        "import ctypes, sys, threading, time; open('/proc/self/comm','w').write(sys.argv[1]); print(flush=True);"
        "threading.Thread(target=time.sleep, args=(600,)).start(); input(); ctypes.CDLL(None).pthread_exit(None)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, RENAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    files = Path(f"/proc/{process.pid}")

    def end_first_thread():
        process.stdin.write(b"\n")
        process.stdin.flush()
        until(lambda: b") Z " in (files / "stat").read_bytes())

    def group_now():
        (thread,) = {entry.name for entry in (files / "task").iterdir()} - {str(process.pid)}
        return group_of(thread, where)

    try:
        process.stdout.readline()
        if when == "before":
            end_first_thread()
        engine = run()
        engine.set_rules(
            {
                "match": {"comm": RENAMED}, "oom_score_adj": 250,
                "cgroup": {"path": f"{group}/a", "controllers": ["pids"]},
            }
        )  # fmt: skip
        if when == "after":
            end_first_thread()
            engine.sweep()
        placement = engine.placement(process.pid)
        assert (placement.state, placement.refusals) == (State.HELD, ())
        assert (adj_of(process.pid), group_now()) == (250, f"{group}/a")
        assert engine.happenings(process.pid).count(DRIFTED) == 0
        engine.set_rules()
        until(lambda: engine.sweep() and not engine.rows())  # a rescan removes the groups, after the move
        assert (adj_of(process.pid), group_now()) == (0, group_of(os.getpid(), where))
    finally:
        process.kill()
        process.communicate()


def test_a_dry_run_writes_nothing_and_says_once_what_it_would(run, program, sleeper, move, where):
    process = sleeper(program, "600")
    engine = run()
    engine.set_rules({**RAISE, **move}, dry_run=True)
    engine.sweep()
    assert (adj_of(process.pid), group_of(process.pid, where)) == (0, group_of(os.getpid(), where))
    assert engine.happenings(process.pid) == [PLANNED]
    assert engine.placement(process.pid).state is State.PLANNED
    assert engine.rows() == []
    engine.set_rules({**RAISE, **move})
    assert (adj_of(process.pid), group_of(process.pid, where)) == (300, move["cgroup"]["path"])


def test_from_a_dry_run_to_held_to_drift_to_restored(run, program, sleeper, move, where):
    """The whole way of one rule; below 0 where the capability is there."""
    adj = -500 if "CAP_SYS_RESOURCE" in capabilities("/proc") else 300
    rule = {**move, "oom_score_adj": adj}
    there = sleeper(program, "600")
    set_adj(there.pid, 7)
    was_in, path = group_of(there.pid, where), move["cgroup"]["path"]
    engine = run()
    engine.set_rules(rule, dry_run=True)
    preview = look_ahead(engine.engine.processes(), rules(rule), engine.engine.host_facts())
    (previewed,) = [some for some in preview.planned if some.process.pid == there.pid]
    assert [(c.field, c.before, c.after) for c in previewed.decision.changes if c.field is not Field.SETTING] == [
        (Field.OOM_SCORE_ADJ, 7, adj),
        (Field.CGROUP, was_in, path),
    ]
    assert (adj_of(there.pid), group_of(there.pid, where)) == (7, was_in)

    dry_until = time.time_ns()
    engine.set_rules(rule)
    came = sleeper(program, "600")
    engine.settle()
    assert engine.placement(there.pid).since_ns > dry_until, "under the rule since it is one, not since it was tried"
    assert {(adj_of(p.pid), group_of(p.pid, where)) for p in (there, came)} == {(adj, path)}

    set_adj(came.pid, 250)
    engine.hierarchy.tree(where).join(was_in, there.pid)
    engine.sweep()
    assert {(adj_of(p.pid), group_of(p.pid, where)) for p in (there, came)} == {(adj, path)}
    assert DRIFTED in engine.happenings(there.pid)

    engine.set_rules()
    engine.sweep()
    assert [(adj_of(p.pid), group_of(p.pid, where)) for p in (there, came)] == [(7, was_in), (250, was_in)]
    assert not engine.hierarchy.tree(where).exists(path)
    assert engine.rows() == []


def test_a_process_is_moved_and_when_the_rule_goes_it_is_back_and_the_group_gone(
    run, program, sleeper, move, where, hierarchy
):
    process = sleeper(program, "600")
    was_in = group_of(process.pid, where)
    engine = run({**RAISE, **move})
    assert group_of(process.pid, where) == move["cgroup"]["path"]
    assert {made.path for made in engine.table.made()} == {
        move["cgroup"]["path"],
        os.path.dirname(move["cgroup"]["path"]),
    }
    engine.set_rules()
    engine.sweep()
    assert (adj_of(process.pid), group_of(process.pid, where)) == (0, was_in)
    assert engine.happenings(process.pid)[-1] is RELEASED
    assert not hierarchy.tree(where).exists(os.path.dirname(move["cgroup"]["path"]))
    assert engine.rows() == []


@pytest.fixture
def above(hierarchy, group):
    """A rule's target, the hierarchy, and a file of the group above the target: its text without and with that."""
    if hierarchy.mode is Mode.UNIFIED:
        hierarchy.tree(UNIFIED).create(group)
        return {"controllers": ["pids"], "settings": {"pids.max": 50}}, UNIFIED, "cgroup.subtree_control", "", "pids"
    tree = hierarchy.tree(hierarchy.name_of("cpuset"))
    os.mkdir(tree.at(group))
    return {"controllers": ["cpuset"]}, tree.name, "cpuset.cpus", "", tree.read("/", "cpuset.cpus")


def test_what_a_group_needs_of_the_one_above_goes_with_the_last_of_ours(run, program, sleeper, group, hierarchy, above):
    asks, name, file, without, with_it = above
    tree = hierarchy.tree(name)
    assert tree.read(group, file) == without
    rule = {"match": {"comm": NAME}, "cgroup": {"path": f"{group}/a", **asks}}
    other = {"match": {"comm": LEADER}, "cgroup": {"path": f"{group}/b", **asks}}
    sleeper(program, "600")
    engine = run(rule, other)
    second = sleeper(str(shutil.copy(program, Path(program).with_name(LEADER))), "600")
    engine.settle()
    assert group_of(second.pid, name) == f"{group}/b"
    assert tree.read(group, file) == with_it
    engine.set_rules({**other, "name": "r2"})
    assert tree.read(group, file) == with_it
    engine.set_rules()
    engine.sweep()
    assert (tree.read(group, file), tree.children(group), engine.rows()) == (without, (), [])


def test_it_stays_while_another_programs_group_may_need_it(run, program, sleeper, group, hierarchy, above):
    asks, name, file, _, with_it = above
    tree = hierarchy.tree(name)
    sleeper(program, "600")
    engine = run({"match": {"comm": NAME}, "cgroup": {"path": f"{group}/a", **asks}})
    tree.create(f"{group}/another")
    engine.set_rules()
    engine.sweep()
    assert (tree.read(group, file), engine.rows()) == (with_it, [])


def test_a_group_that_was_there_is_not_ours_to_remove(run, program, sleeper, move, where, hierarchy):
    path = move["cgroup"]["path"]
    hierarchy.tree(where).create(path)
    engine = run(move)
    process = sleeper(program, "600")
    engine.settle()
    assert group_of(process.pid, where) == path
    engine.set_rules()
    engine.sweep()
    assert hierarchy.tree(where).exists(path)


def test_a_rule_that_says_keep_leaves_everything_when_it_goes(run, program, sleeper, move, where):
    process = sleeper(program, "600")
    engine = run({**RAISE, **move, "on_remove": "keep"})
    engine.set_rules()
    engine.sweep()
    assert (adj_of(process.pid), group_of(process.pid, where)) == (300, move["cgroup"]["path"])
    assert engine.reports[-1].detail == "left as it is (on_remove: keep)"
    assert engine.rows() == []


def test_drift_is_put_back_and_counted(run, program, sleeper, move, where, hierarchy):
    process = sleeper(program, "600")
    engine = run({**RAISE, **move})
    set_adj(process.pid, 100)
    hierarchy.tree(where).join("/", process.pid)
    engine.sweep()
    assert (adj_of(process.pid), group_of(process.pid, where)) == (300, move["cgroup"]["path"])
    assert engine.happenings(process.pid).count(DRIFTED) == 2
    assert counter(engine.engine.metrics.drift, "r1") == 2


def test_what_somebody_chose_later_is_what_is_given_back(run, program, sleeper):
    process = sleeper(program, "600")
    engine = run(RAISE)
    set_adj(process.pid, 100)
    engine.sweep()
    engine.set_rules()
    assert adj_of(process.pid) == 100


def test_what_somebody_chose_after_the_last_look_is_left(run, program, sleeper):
    process = sleeper(program, "600")
    engine = run(RAISE)
    set_adj(process.pid, 555)
    engine.set_rules()
    assert adj_of(process.pid) == 555


def test_a_move_already_true_is_not_made(run, program, sleeper, move, where, hierarchy):
    hierarchy.tree(where).create(move["cgroup"]["path"])
    process = sleeper(program, "600")
    hierarchy.tree(where).join(move["cgroup"]["path"], process.pid)
    engine = run(move)
    engine.sweep()
    assert counter(engine.engine.metrics.writes, "cgroup", "done") == 0
    assert engine.placement(process.pid).state is State.HELD


def test_how_long_a_move_took_is_not_how_long_it_took_to_hear_of_it(run, program, sleeper, move, where, monkeypatch):
    monkeypatch.setattr(reconcile, "FETCH_MS", 60_000)
    engine = run(move)
    process = sleeper(program, "600")
    until(lambda: group_of(process.pid, where) == move["cgroup"]["path"])
    hour_ns = 3600 * 10**9
    later = SimpleNamespace(
        monotonic_ns=lambda: time.monotonic_ns() + hour_ns,
        time_ns=lambda: time.time_ns() + hour_ns,
        clock_gettime=time.clock_gettime,
        CLOCK_BOOTTIME=time.CLOCK_BOOTTIME,
    )
    monkeypatch.setattr(performer, "time", later)  # an hour later the engine hears of it
    engine.settle()
    assert 0 < engine.engine.metrics.held_after.labels("cgroup").total < PATIENCE_S
    [held] = [report for report in engine.reports if report.happening is HELD]
    assert held.at_ns < time.time_ns()


def test_another_rule_takes_over_and_what_it_does_not_name_is_given_back(run, program, sleeper, move, where):
    process = sleeper(program, "600")
    was_in = group_of(process.pid, where)
    engine = run({**RAISE, **move, "name": "both"})
    engine.set_rules({**RAISE, "name": "only-adj", "oom_score_adj": 200})
    engine.sweep()
    assert (adj_of(process.pid), group_of(process.pid, where)) == (200, was_in)
    engine.set_rules({**move, "name": "only-move"})
    engine.sweep()
    assert (adj_of(process.pid), group_of(process.pid, where)) == (0, move["cgroup"]["path"])


def test_an_exec_into_another_program_lets_go(run, program, tmp_path):
    engine = run(RAISE)
    link = tmp_path / "sh" / NAME
    link.parent.mkdir()
    link.symlink_to("/bin/sh")
    process = subprocess.Popen([str(link), "-c", "read x; exec sleep 600"], stdin=subprocess.PIPE)
    until_asleep(process.pid)
    engine.settle()
    assert adj_of(process.pid) == 300
    process.stdin.write(b"\n")
    process.stdin.flush()
    engine.wait_for(lambda: RELEASED in engine.happenings(process.pid))
    assert adj_of(process.pid) == 0
    stop_process(process)


CHILDREN = """
import os, sys
def child():
    pid = os.fork()
    if pid == 0:
        sys.stdin.read()
        os._exit(0)
    return pid
open('/proc/self/comm', 'w').write(sys.argv[1])
print('ready', flush=True)
sys.stdin.readline()
print(child(), flush=True)
sys.stdin.read()
"""


#: It forks before anybody can have told the kernel to tell of its forks: a postmaster starts its checkpointer so.
HASTY = """
import os, sys
name = os.open('/proc/self/comm', os.O_WRONLY)
def child():
    pid = os.fork()
    if pid == 0:
        sys.stdin.read()
        os._exit(0)
    return pid
os.write(name, sys.argv[1].encode())
print(child(), child(), flush=True)
sys.stdin.read()
"""


def test_children_that_were_there_before_their_leader_was_followed_get_their_value_too(run):
    rule = {"match": {"comm": LEADER}, "oom_score_adj": {"value": 100, "children": 400}}
    engine = run(rule)
    leader = subprocess.Popen(
        [sys.executable, "-c", HASTY, LEADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    children = [int(word) for word in leader.stdout.readline().split()]
    engine.settle()
    assert [adj_of(pid) for pid in (leader.pid, *children)] == [100, 400, 400]
    leader.stdin.close()
    stop_process(leader)
    leader.stdout.close()


def test_children_of_a_leader_get_their_own_value_at_the_fork(run):
    rule = {"match": {"comm": LEADER}, "oom_score_adj": {"value": 100, "children": 400}}
    engine = run(rule)
    leader = subprocess.Popen(
        [sys.executable, "-c", CHILDREN, LEADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert leader.stdout.readline() == "ready\n"
    engine.settle()
    assert adj_of(leader.pid) == 100
    leader.stdin.write("\n")
    leader.stdin.flush()
    child = int(leader.stdout.readline())
    engine.settle()
    assert adj_of(child) == 400
    assert engine.placement(child).as_child
    engine.set_rules()
    assert [adj_of(pid) for pid in (leader.pid, child)] == [0, 0], "what each would have without us"
    leader.stdin.close()
    stop_process(leader)
    leader.stdout.close()


def test_no_capability_is_said_once_a_rule_and_the_rest_goes_on(run, program, sleeper, move, where, caplog):
    if "CAP_SYS_RESOURCE" in capabilities("/proc"):
        pytest.skip("holds CAP_SYS_RESOURCE")
    processes = [sleeper(program, "600") for _ in range(3)]
    engine = run({**move, "oom_score_adj": -500})
    engine.sweep()
    assert {group_of(p.pid, where) for p in processes} == {move["cgroup"]["path"]}
    said = [record for record in caplog.records if record.getMessage() == "a rule cannot be applied"]
    assert len(said) == 1
    assert "CAP_SYS_RESOURCE" in said[0].fields["detail"]
    assert counter(engine.engine.metrics.refusals, "r1", Reason.CAPABILITY) == 3
    assert {engine.placement(p.pid).state for p in processes} == {State.PARTLY}


def test_holding_by_hand_goes_before_the_rules_and_ends_by_itself(run, program, sleeper):
    process = sleeper(program, "600")
    engine = run(RAISE)
    placement = engine.engine.hold(process.pid, None, 700, 600, "test").result(PATIENCE_S)
    assert (placement.rule, adj_of(process.pid)) == ("hold", 700)
    assert placement.expires_ns > time.time_ns()
    engine.sweep()
    assert adj_of(process.pid) == 700
    engine.engine.hold(process.pid, None, 701, 0.3, "test").result(PATIENCE_S)  # in place of the first, and shorter
    engine.wait_for(lambda: len(engine.changes(process.pid)) == 4)
    assert [change.after for change in engine.changes(process.pid)] == [300, 700, 701, 300]
    assert adj_of(process.pid) == 300


def fill_page(journal):
    """Use up what is left of the last page of a journal on a full disk."""
    with contextlib.suppress(Unavailable):
        for number in range(1000):
            journal.commit([GroupRow("", f"/none/{number}", "none")])
    with contextlib.suppress(Unavailable):
        while True:  # the shortest line there is
            journal.commit([], drops=[OverrideRow(1, 1, 0, 0)])


def test_a_hold_ends_though_the_journal_cannot_be_written(disk, run, program, sleeper):
    process = sleeper(program, "600")
    engine = run(root=disk.at)
    lasting = sleeper(program, "600")
    engine.engine.hold(lasting.pid, None, 600, 600, "test").result(20)
    engine.engine.hold(process.pid, None, 700, 0.3, "test").result(20)
    disk.fill()
    fill_page(engine.journal)
    with pytest.raises(Unavailable, match="nothing is written without it"):
        engine.engine.release(lasting.pid).result(PATIENCE_S)
    assert engine.placement(lasting.pid).expires_ns
    until(lambda: process.pid not in engine.table.overridden)
    engine.sweep()
    assert engine.engine.status().running
    disk.empty()
    engine.sweep()
    assert (adj_of(process.pid), adj_of(lasting.pid)) == (0, 600)
    assert engine.engine.release(lasting.pid).result(PATIENCE_S) is None
    assert adj_of(lasting.pid) == 0


def test_who_created_a_process_is_told_that_the_journal_has_no_room_for_it(disk, run, program, sleeper):
    """It reports again at the next start, after which no other part would know the request."""
    process = sleeper(program, "600")
    set_adj(process.pid, 300)
    engine = run(RAISE, root=disk.at)
    disk.fill()
    fill_page(engine.journal)
    with pytest.raises(Unavailable, match="nothing is written without it"):
        engine.engine.adopt(process.pid, 7, 300, "r1").result(PATIENCE_S)
    engine.set_rules()
    assert adj_of(process.pid) == 7, "as long as we run it is known"
    disk.empty()


def test_a_turn_that_fails_is_not_the_last(run, program, sleeper, monkeypatch, caplog):
    engine = run(RAISE)
    failures = iter(range(3))

    def full(*_):
        if next(failures, None) is not None:
            raise Unavailable("journal: database or disk is full")
        monkeypatch.undo()

    monkeypatch.setattr(engine.engine._loop.sweeps, "step", full)
    process = sleeper(program, "600")
    engine.settle()
    assert adj_of(process.pid) == 300
    said = [record for record in caplog.records if "placement: some changes failed" in record.getMessage()]
    assert len(said) == 1


def test_a_mistake_of_ours_in_every_turn_is_the_end_and_nobody_waits_for_an_answer(run, monkeypatch, caplog):
    monkeypatch.setattr(reconcile, "TROUBLE_S", 0.001)
    engine = run()
    calls = []

    def broken():
        if not calls:
            calls.append(engine.engine.release(1))  # asked while it fails, answered when it ends
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(engine.engine._loop.sweeps, "step", broken)
    engine.engine.examine_groups(())
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        engine.engine.ended.result(PATIENCE_S)
    assert not engine.engine.status().running
    with pytest.raises((Unavailable, NotFound)):
        calls[0].result(PATIENCE_S)
    with pytest.raises(Unavailable, match="the placement engine has ended; the log says why"):
        engine.engine.restore().result(PATIENCE_S)
    said = [record.fields for record in caplog.records if record.levelname == "ERROR"]
    assert [fields["error"] for fields in said] == ["ZeroDivisionError: a mistake"] * 2
    assert "test_engine.py" in said[0]["at"]


def test_a_hold_by_hand_outlives_the_engine_and_is_released_by_hand(run, program, sleeper):
    process = sleeper("sleep", "600")
    engine = run(RAISE)
    engine.engine.hold(process.pid, None, 700, 600, "test").result(20)
    engine.stop()
    again = run(RAISE)
    assert adj_of(process.pid) == 700
    assert again.engine.release(process.pid).result(20) is None
    assert adj_of(process.pid) == 0
    with pytest.raises(NotFound, match="override of process"):
        again.engine.release(process.pid).result(20)


def test_what_cannot_be_held_by_hand_is_refused_and_nothing_is_left(run, program, sleeper):
    process = sleeper(program, "600")
    engine = run(RAISE)
    hold = engine.engine.hold
    with pytest.raises(InvalidArgument, match="out of range"):
        hold(process.pid, None, 1001, 60, "").result(20)
    with pytest.raises(FailedPrecondition, match="holdfast itself"):
        hold(os.getpid(), None, 5, 60, "").result(20)
    with pytest.raises(FailedPrecondition, match="init"):
        hold(1, None, 5, 60, "").result(20)
    with pytest.raises(ProcessGone):
        hold(process.pid, 1, 5, 60, "").result(20)
    if "CAP_SYS_RESOURCE" not in capabilities("/proc"):
        with pytest.raises(FailedPrecondition, match="CAP_SYS_RESOURCE"):
            hold(process.pid, None, -5, 60, "").result(20)
    assert (adj_of(process.pid), engine.table.overridden) == (300, {})


def test_restore_gives_everything_back_and_the_rules_wait_until_they_are_set_again(run, program, sleeper, move, where):
    processes = [sleeper(program, "600") for _ in range(3)]
    was_in = group_of(processes[0].pid, where)
    engine = run({**RAISE, **move})
    restored = engine.engine.restore().result(20)
    engine.sweep()
    assert (restored.given_back, restored.left, restored.gone, restored.failed) == (6, 0, 0, ())
    assert {(adj_of(p.pid), group_of(p.pid, where)) for p in processes} == {(0, was_in)}
    assert engine.engine.status().suspended == {"r1"}
    engine.set_rules({**RAISE, **move})
    assert {adj_of(p.pid) for p in processes} == {300}


def test_restore_of_one_process_leaves_the_others(run, program, sleeper):
    first, second = sleeper(program, "600"), sleeper(program, "600")
    engine = run(RAISE)
    assert engine.engine.restore(pid=first.pid).result(20).given_back == 1
    engine.sweep()
    assert [adj_of(p.pid) for p in (first, second)] == [0, 300]


def test_stopping_keeps_or_gives_back_as_asked(run, program, sleeper):
    process = sleeper(program, "600")
    run(RAISE).stop()
    assert adj_of(process.pid) == 300
    run(RAISE).stop(restore=True)
    assert adj_of(process.pid) == 0


def test_a_new_engine_takes_up_what_the_last_one_did(run, program, sleeper):
    process = sleeper(program, "600")
    run(RAISE).stop()
    engine = run()
    engine.sweep()
    assert adj_of(process.pid) == 0, "there is no rule for it any more"
    assert engine.happenings(process.pid) == [RELEASED]


def test_settings_of_a_target_are_set_and_given_back(run, program, sleeper, group, hierarchy):
    tree = hierarchy.tree(hierarchy.name_of("pids"))
    tree.create(group, ["pids"] if tree.name == UNIFIED else ())
    tree.write(group, "pids.max", "100")
    rule = {"match": {"comm": NAME}, "cgroup": {"path": group, "controllers": ["pids"], "settings": {"pids.max": 50}}}
    sleeper(program, "600")
    engine = run(rule)
    assert tree.read(group, "pids.max") == "50"
    tree.write(group, "pids.max", "77")
    engine.sweep()
    assert tree.read(group, "pids.max") == "50"
    engine.set_rules({**rule, "cgroup": {"path": group, "controllers": ["pids"]}})
    engine.sweep()
    assert tree.read(group, "pids.max") == "77", "what somebody else chose in between"
    assert engine.table.files == {}


def test_a_setting_in_place_is_made_where_the_process_is(run, program, sleeper, group, hierarchy):
    tree = hierarchy.tree(hierarchy.name_of("pids"))
    tree.create(group, ["pids"] if tree.name == UNIFIED else ())
    process = sleeper(program, "600")
    tree.join(group, process.pid)
    engine = run({"match": {"comm": NAME}, "in_place": {"pids.max": 40}})
    assert tree.read(group, "pids.max") == "40"
    engine.set_rules()
    engine.sweep()
    assert tree.read(group, "pids.max") == "max"


def in_place(controller):
    """The setting, for the first disk of this machine."""
    ((file, value),) = SPELLED[controller].items()
    if "DISK" not in value:
        return {file: value}
    with open("/proc/partitions", encoding="ascii") as partitions:
        disk = next((line.split() for line in partitions.readlines()[2:]), None)
    if disk is None:
        pytest.skip("no disk here")
    return {file: [value.replace("DISK", f"{disk[0]}:{disk[1]}")]}


@pytest.fixture
def process_in(program, sleeper, group, hierarchy):
    """Puts a process under the rule into a group that has a controller; gives the tree, and the controller there."""

    def put(controller):
        named = "blkio" if controller == "io" and hierarchy.mode is not Mode.UNIFIED else controller
        try:
            tree = hierarchy.tree(hierarchy.name_of(named))
        except NotFound:
            pytest.skip(f"no controller {named} here")
        tree.create(group, [named] if tree.name == UNIFIED else ())
        tree.join(group, sleeper(program, "600").pid)
        return tree, named

    return put


#: Settings that the kernel spells its own way, by controller; on v1 these become their files there.
SPELLED = {
    "io": {"io.max": "DISK rbps=1048576"},
    "cpu": {"cpu.max": "50000"},
    "cpuset": {"cpuset.cpus": "0,0-0"},
}


@pytest.mark.parametrize(("controller", "how"), list(itertools.product(SPELLED, ["removed", "restored"])))
def test_a_setting_that_the_kernel_spells_its_way_is_given_back(run, process_in, group, controller, how):
    tree, named = process_in(controller)

    def files():
        found = {}
        for file in sorted(os.listdir(tree.at(group))):
            if file.startswith((f"{named}.max", "blkio.throttle.read_bps", "cpu.cfs", "cpuset.cpus", "cpuset.mems")):
                with contextlib.suppress(KernelRefused):
                    found[file] = tree.read(group, file)
        return found

    before = files()
    engine = run({"match": {"comm": NAME}, "in_place": in_place(controller)})
    during = files()
    assert during != before
    engine.sweep()
    assert (files(), [row.written for row in engine.table.files.values()].count(None)) == (during, 0)
    if how == "removed":
        engine.set_rules()
    else:
        assert engine.engine.restore().result(PATIENCE_S).given_back > 0
    after = files()
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not before.get(file) and after.get(file):  # v2 refuses to empty it again while a process is there
            after[file] = {before[f"{file}.effective"]: ""}.get(after[file])
    assert (after, engine.table.files) == (before, {})


def test_limits_that_depend_on_each_other_are_given_back_at_once(run, process_in, group):
    """The kernel refuses a memory limit above the one of memory and swap together."""
    tree, _ = process_in("memory")
    files = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    if not os.path.exists(f"{tree.at(group)}/{files[1]}"):
        pytest.skip("needs cgroup v1 and accounting of swap")
    before = [tree.read(group, file) for file in files]
    engine = run({"match": {"comm": NAME}, "in_place": dict.fromkeys(files, "64Mi")})
    assert [tree.read(group, file) for file in files] == ["67108864"] * 2
    restored = engine.engine.restore().result(PATIENCE_S)
    assert (restored.given_back, restored.failed) == (2, ())
    assert [tree.read(group, file) for file in files] == before


def test_a_refused_setting_is_one_line_and_the_move_goes_on(run, program, sleeper, group, hierarchy):
    tree = hierarchy.tree(hierarchy.name_of("pids"))
    target = {"path": group, "controllers": ["pids"], "settings": {"pids.max": 1 << 40}}
    process = sleeper(program, "600")
    engine = run({"match": {"comm": NAME}, "cgroup": target})
    assert group_of(process.pid, tree.name) == group
    (refusal,) = engine.placement(process.pid).refusals
    assert (refusal.reason, refusal.detail) == (
        Reason.BAD_VALUE,
        f"write {tree.at(group)}/pids.max: invalid argument; the kernel does not take this value for this file",
    )
    assert engine.placement(process.pid).state is State.PARTLY


# -- events ------------------------------------------------------------------------------------------------------------


def test_lost_events_are_noticed_and_everybody_is_held_after_one_sweep(run, program, sleeper):
    engine = run(RAISE)
    events = engine.engine._loop.feed._events
    events._socket.setsockopt(1, 8, 1)  # SO_RCVBUF: the smallest the kernel gives, a handful of events
    released = []

    def stall_and_start():
        released.extend(sleeper(program, "600").pid for _ in range(40))

    engine.engine._loop.calls.ask(stall_and_start).result(60)
    engine.wait_for(lambda: len({report.pid for report in engine.reports}) == 40)
    engine.settle()
    assert {adj_of(pid) for pid in released} == {300}
    assert counter(engine.engine.metrics.lost) >= 1
    engine.wait_for(lambda: counter(engine.engine.metrics.sweeps, Cause.LOST_EVENTS) >= 1)  # when the rescan ends


def test_a_feed_that_went_dead_is_noticed_by_the_next_sweep_and_replaced(run, program, sleeper, monkeypatch):
    engine = run(RAISE)

    def deafen():
        events = engine.engine._loop.feed._events
        monkeypatch.setattr(procconn, "filter_program", lambda *given: [(6, 0, 0, 0)])  # return 0: drop everything
        events._attach_filter(0)
        monkeypatch.undo()

    engine.engine._loop.calls.ask(deafen).result(20)
    deaf = sleeper(program, "600")
    engine.settle()
    assert adj_of(deaf.pid) == 0
    engine.sweep()
    assert adj_of(deaf.pid) == 300
    assert counter(engine.engine.metrics.sweeps, Cause.NO_HEARTBEAT) == 1
    process = sleeper(program, "600")
    engine.settle()
    assert adj_of(process.pid) == 300
    assert engine.engine.status().events == ""


def test_without_process_events_it_sweeps_and_says_so(run, program, sleeper, monkeypatch, caplog):
    def refuse(_proc_root):
        raise Unavailable("process events: not on this kernel")

    monkeypatch.setattr(feed, "ProcessEvents", refuse)
    engine = run(RAISE)
    process = sleeper(program, "600")
    engine.sweep()
    assert adj_of(process.pid) == 300
    assert engine.engine.status().events == "process events: not on this kernel"
    assert counter(engine.engine.metrics.feed) == 0
    said = [
        record for record in caplog.records if record.getMessage() == "no process events: only rescans find processes"
    ]
    assert len(said) == 1


def test_it_sweeps_by_itself_every_period(run, program, sleeper, monkeypatch):
    monkeypatch.setattr(feed.Feed, "open", lambda self: False)
    engine = run(RAISE, rescan_s=0.05)
    process = sleeper(program, "600")
    engine.wait_for(lambda: HELD in engine.happenings(process.pid))
    engine.wait_for(lambda: counter(engine.engine.metrics.sweeps, Cause.PERIOD) >= 1)


def test_the_socket_works_from_another_network_namespace(tmp_path):
    code = """
import subprocess
from holdfast.errors import Unavailable
from holdfast.node.proc.connector import ProcessEvents
try:
    with ProcessEvents("/proc") as events:
        child = subprocess.Popen(["true"])
        child.wait()
        found = []
        while some := events.read():  # those of other processes of the machine, too
            found += [event.pid for event in some]
        print(child.pid in found)
except Unavailable as error:
    print(error.message)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    try:
        os.close(os.open("/proc/1/ns/net", os.O_RDONLY))
    except PermissionError:
        expected = (
            "process events: no answer in this network namespace, "
            "and the host's could not be entered (CAP_SYS_ADMIN, hostPID)"
        )
    else:
        expected = "True"
    assert (run.stdout.strip(), run.stderr) == (expected, "")


# -- identity ----------------------------------------------------------------------------------------------------------


def test_a_newcomer_with_an_ended_process_s_number_is_not_touched(run, program, sleeper):
    process = sleeper(program, "600")
    engine = run(RAISE)
    stop_process(process)
    newcomer = take_number(process.pid, "sleep", "600")
    try:
        engine.set_rules()
        engine.sweep()
        assert adj_of(newcomer.pid) == 0
        assert engine.happenings(process.pid) == [HELD]
        assert engine.rows() == []
    finally:
        stop_process(newcomer)


def test_a_hold_on_a_process_does_not_write_to_who_has_its_number_now(run, program, sleeper):
    engine = run()
    process = sleeper(program, "600")
    with engine.engine._loop.proc.open(process.pid) as opened:
        stop_process(process)
        newcomer = take_number(process.pid, "sleep", "600")
        try:
            with pytest.raises(ProcessGone):
                opened.write("oom_score_adj", b"300")
            assert adj_of(newcomer.pid) == 0
        finally:
            stop_process(newcomer)


def test_a_newcomer_that_was_moved_by_its_number_is_put_back(run, program, sleeper, move, where, monkeypatch):
    """The process ends, and its number is taken, between our look and the write: the one race the kernel leaves."""
    process = sleeper(program, "600")
    engine = run()
    path = move["cgroup"]["path"]
    tree = engine.hierarchy.tree(where)
    real, newcomers = tree.join, []

    def race(group, pid, still=None):
        def looked():
            found = still()
            if group == path and not newcomers:
                stop_process(process)
                newcomers.append(take_number(process.pid, "sleep", "600"))
            return found

        return real(group, pid, still and looked)

    monkeypatch.setattr(tree, "join", race)
    engine.set_rules(move)
    (newcomer,) = newcomers
    try:
        assert group_of(newcomer.pid, where) == group_of(os.getpid(), where)
        assert counter(engine.engine.metrics.strangers) == 1
    finally:
        stop_process(newcomer)


def test_the_journal_forgets_who_is_gone(run, program, sleeper):
    process = sleeper(program, "600")
    engine = run(RAISE)
    assert len(engine.rows()) == 1
    stop_process(process)
    engine.sweep()
    assert (engine.rows(), engine.placement(process.pid)) == ([], None)


def test_a_journal_of_another_boot_gives_nothing_back(run, program, sleeper, tmp_path):
    process = sleeper(program, "600")
    run(RAISE).stop()
    Journal(tmp_path / "journal", "another boot").close()
    engine = run()
    engine.sweep()
    assert adj_of(process.pid) == 300


def test_many_processes_are_moved_with_few_descriptors(run, program, sleeper, move, where):
    processes = [sleeper(program, "600") for _ in range(300)]
    before = len(os.listdir("/proc/self/fd"))
    engine = run({**RAISE, **move})
    engine.sweep()
    assert {(adj_of(p.pid), group_of(p.pid, where)) for p in processes} == {(300, move["cgroup"]["path"])}
    assert len(os.listdir("/proc/self/fd")) - before < 60


def test_everything_is_given_back_with_128_descriptors(run, program, sleeper, move, where):
    processes = [sleeper(program, "600") for _ in range(150)]
    was_in = group_of(processes[0].pid, where)
    engine = run({**RAISE, **move})
    engine.sweep()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        restored = engine.engine.restore().result(60)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (restored.given_back, restored.failed) == (2 * len(processes), ())
    assert {(adj_of(p.pid), group_of(p.pid, where)) for p in processes} == {(0, was_in)}


def test_what_a_rescan_finds_that_no_event_told_of_is_counted(run, program, sleeper, monkeypatch):
    engine = run(RAISE, rescan_s=0.2)
    monkeypatch.setattr(engine.engine._loop.examiner, "on_event", lambda pid, at_ns: None)
    engine.settle()  # what it served meanwhile, it served as before
    process = sleeper(program, "600")
    engine.wait_for(lambda: HELD in engine.happenings(process.pid))
    engine.wait_for(lambda: counter(engine.engine.metrics.missed))  # it is counted when the rescan ends
    assert counter(engine.engine.metrics.missed) == 1


def test_what_cannot_be_noted_is_not_written(disk, run, program, sleeper, move, where, caplog):  # noqa: PLR0917
    engine = run(root=disk.at)
    disk.fill()
    fill_page(engine.journal)
    process = sleeper(program, "600")
    engine.set_rules({**RAISE, **move})
    engine.settle()
    assert (adj_of(process.pid), group_of(process.pid, where) == move["cgroup"]["path"]) == (0, False)
    refusals = engine.placement(process.pid).refusals
    assert {(refusal.reason, refusal.field) for refusal in refusals} == {
        (Reason.JOURNAL, Field.OOM_SCORE_ADJ),
        (Reason.JOURNAL, Field.CGROUP),
    }
    for refusal in refusals:
        assert refusal.detail.endswith("journal: no space left on device; nothing is written without it")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    disk.empty()
    engine.sweep()
    assert (adj_of(process.pid), group_of(process.pid, where)) == (300, move["cgroup"]["path"])
    engine.sweep()
    assert (engine.placement(process.pid).state, engine.placement(process.pid).refusals) == (State.HELD, ())


def test_a_file_system_mounted_over_the_root_is_noticed_told_once_and_takes_the_journal(
    disk, run, program, sleeper, caplog, tmp_path
):
    root = disk.at / "root"
    root.mkdir()
    first = sleeper(program, "600")
    engine = run(RAISE, root=root)
    other = SmallDisk(root)
    try:
        assert not (root / "journal").exists()
        second = sleeper(program, "600")
        engine.sweep()
        engine.sweep()
        told = [record for record in caplog.records if "removed or replaced" in record.getMessage()]
        assert len(told) == 1
        found = Journal(copied(root / "journal", tmp_path), read_boot_id("/proc"))
        assert set(found.table.processes) >= {first.pid, second.pid}
        found.close()
    finally:
        engine.stop()
        other.remove()


def copied(journal, to):
    return shutil.copy(journal, to / "copy")


def test_a_report_that_fails_is_not_hidden(run):
    engine = run()

    def fail():
        raise ValueError("told to whoever asked")

    with pytest.raises(ValueError, match="told to whoever asked"):
        engine.engine._loop.calls.ask(fail).result(20)
    assert engine.engine.status().running
