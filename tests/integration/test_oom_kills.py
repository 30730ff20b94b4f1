"""Real OOM kills in a small memory group, attributed."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from holdfast.node.oom import kmsg

from tests.integration.node_kit import VICTIM, counter, eat, stop_process

pytestmark = pytest.mark.root


def kill_one(engine, eater):
    """One process is killed beside another that stands next in line; the kill as reported, and the two."""
    bystander, victim = eater("hf-bystander", 5), eater(VICTIM, 100)
    assert eat(bystander) == "eaten\n"
    engine.settle()
    assert eat(victim) == ""
    victim.wait()
    engine.wait_for(lambda: any(kill.pid == victim.pid for kill in engine.killed))
    stop_process(bystander)  # or it may stand in line for the next kill
    return next(kill for kill in engine.killed if kill.pid == victim.pid), victim, bystander


def test_a_kill_is_told_with_who_where_why_and_who_stood_next(run, memory, eater):
    _, limited, inner = memory
    engine = run({"name": "eaters", "match": {"comm": VICTIM}, "oom_score_adj": 500})
    deadline = time.monotonic() + 30  # the kernel prints ten tables in five seconds at most, whoever asks
    while True:
        kill, victim, bystander = kill_one(engine, eater)
        if kill.predicted or time.monotonic() > deadline:
            break
    assert (kill.pid, kill.comm, kill.rule, kill.oom_score_adj) == (victim.pid, VICTIM, "eaters", 500)
    assert (kill.domain, kill.group) == (limited, inner)
    assert [standing.pid for standing in kill.predicted] == [victim.pid, bystander.pid]
    assert kill.predicted[0].points > kill.predicted[1].points
    assert abs(kill.at_ns - time.time_ns()) < 60e9
    assert kill.pressure_pct is not None or not os.path.exists("/proc/pressure/memory")
    assert kill in engine.kills.latest()
    assert counter(engine.engine.metrics.kills, limited, "", "", "") >= 1


FORKING = """
import os, sys
open(sys.argv[1], 'w').write(str(os.getpid()))
open('/proc/self/comm', 'w').write(sys.argv[2])
print('ready', flush=True)
sys.stdin.readline()
child = os.fork()
if child == 0:
    eaten = [bytearray(2**20) for _ in range(100)]
os.waitpid(child, 0)
print(child, flush=True)
"""


def test_a_child_that_was_forked_just_before_has_the_rule_it_inherited_from_its_parent(run, memory):
    tree, _, inner = memory
    engine = run({"name": "eaters", "match": {"comm": VICTIM}, "oom_score_adj": 500})
    command = [sys.executable, "-c", FORKING, f"{tree.at(inner)}/cgroup.procs", VICTIM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "ready\n"
        engine.settle()
        assert engine.placement(parent.pid).rule == "eaters"
        parent.stdin.write("\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        engine.wait_for(lambda: any(kill.pid == child for kill in engine.killed))
    (kill,) = [kill for kill in engine.killed if kill.pid == child]
    assert (kill.comm, kill.rule, kill.oom_score_adj) == (VICTIM, "eaters", 500)


def test_the_kill_of_a_process_whose_value_a_rule_lowered_is_counted_as_one_of_a_protected_process(run, memory, eater):
    engine = run()
    victim = eater(VICTIM, 100)
    with open(f"/proc/{victim.pid}/oom_score_adj", "w") as file:
        file.write("300")  # from there it can be lowered without CAP_SYS_RESOURCE
    engine.set_rules({"name": "spared", "match": {"comm": VICTIM}, "oom_score_adj": 100})
    assert eat(victim) == ""
    victim.wait()
    engine.wait_for(lambda: any(kill.pid == victim.pid for kill in engine.killed))
    (kill,) = [kill for kill in engine.killed if kill.pid == victim.pid]
    assert (kill.rule, kill.protected) == ("spared", True)
    assert counter(engine.engine.metrics.protected_kills, "spared") == 1


def test_kills_while_nobody_looked_are_in_the_record_but_no_news(run, memory, eater):
    engine = run()
    engine.stop()
    victim = eater(VICTIM, 100)
    assert eat(victim) == ""
    victim.wait()
    again = run()
    later, _, _ = kill_one(again, eater)  # the log is read in order: once this one is told, what was before is known
    assert [kill.comm for kill in again.kills.latest() if kill.pid == victim.pid] == [VICTIM]
    assert pids_among(again.killed, victim, later) == [later.pid]
    again.stop()
    third = run()
    last, _, _ = kill_one(third, eater)
    assert pids_among(third.killed, victim, later, last) == [last.pid]
    assert pids_among(third.kills.latest(), victim, later, last) == [last.pid, later.pid, victim.pid]


def pids_among(kills, *ours):
    """The pids of the test's own processes in a list of kills: the machine may have others."""
    return [kill.pid for kill in kills if kill.pid in {one.pid for one in ours}]


@pytest.mark.parametrize("drift_s", [-100, 100])
def test_what_is_news_does_not_depend_on_the_kernel_logs_clock(run, memory, eater, monkeypatch, drift_s):
    """Its clock runs apart from the system's for as long as the machine is up."""

    def time_ns():
        return time.time_ns() + drift_s * 10**9

    monkeypatch.setattr(kmsg, "time", SimpleNamespace(time_ns=time_ns, monotonic_ns=time.monotonic_ns))
    victim = eater(VICTIM, 100)
    assert eat(victim) == ""
    victim.wait()
    engine = run()
    kill, _, _ = kill_one(engine, eater)
    assert pids_among(engine.killed, victim, kill) == [kill.pid]
    assert pids_among(engine.kills.latest(), victim, kill) == [kill.pid, victim.pid]


def test_a_kill_that_cannot_be_recorded_is_told_and_the_engine_goes_on(run, memory, eater, caplog):
    engine = run()
    engine.kills._db.execute("PRAGMA query_only = 1")  # as on a disk that went read-only
    kill, victim, _ = kill_one(engine, eater)
    assert kill.pid == victim.pid
    assert pids_among(engine.kills.latest(), victim) == []
    assert "an OOM kill is not recorded" in [record.getMessage() for record in caplog.records]
    assert engine.engine.status().running
    engine.kills._db.execute("PRAGMA query_only = 0")
    later, _, _ = kill_one(engine, eater)
    assert later in engine.kills.latest()


def test_without_the_kernel_log_kills_are_counted_by_group(run, memory, eater, tmp_path, caplog):
    _, limited, inner = memory
    engine = run(kmsg=str(tmp_path / "nothing"))
    victim = eater(VICTIM, 100)
    assert eat(victim) == ""
    victim.wait()
    engine.sweep()
    mine = [kill for kill in engine.killed if kill.group in (limited, inner)]
    assert len(mine) == 1
    assert (mine[0].pid, mine[0].comm, mine[0].domain) == (0, "", limited)
    assert "OOM kills are counted without the kernel log" in [record.getMessage() for record in caplog.records]
