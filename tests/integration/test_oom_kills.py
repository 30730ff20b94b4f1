"""Real OOM kills in a small memory group, attributed."""

import os
import subprocess
import sys
import time

import pytest
from holdfast.cgroups import UNIFIED

from tests.integration.node_kit import counter

pytestmark = pytest.mark.root

LIMIT_BYTES = 48 * 2**20
EATER = """
import os, sys
open(sys.argv[1], 'w').write(str(os.getpid()))
open('/proc/self/comm', 'w').write(sys.argv[2])
print('ready', flush=True)
sys.stdin.readline()
eaten = [bytearray(2**20) for _ in range(int(sys.argv[3]))]
print('eaten', flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def memory(hierarchy, group):
    """The path of a group below another one that has the limit, and the tree."""
    tree = hierarchy.tree(hierarchy.name_of("memory"))
    tree.create(f"{group}/inner", ["memory"] if tree.name == UNIFIED else ())
    if tree.name == UNIFIED:
        tree.write(group, "memory.max", str(LIMIT_BYTES))
        tree.write(group, "memory.oom.group", "0")
    else:
        tree.write(group, "memory.limit_in_bytes", str(LIMIT_BYTES))
    return tree, group, f"{group}/inner"


@pytest.fixture
def eater(memory):
    started = []
    tree, _, inner = memory

    def start(comm, mebibytes):
        command = [sys.executable, "-c", EATER, f"{tree.at(inner)}/cgroup.procs", comm, str(mebibytes)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def eat(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def kill_one(engine, eater):
    """One process is killed beside another that stands next in line; the kill as reported, and the two."""
    bystander, victim = eater("hf-bystander", 5), eater("hf-victim", 100)
    assert eat(bystander) == "eaten\n"
    engine.settle()
    assert eat(victim) == ""
    victim.wait()
    engine.wait_for(lambda: any(kill.pid == victim.pid for kill in engine.killed))
    bystander.kill()
    return next(kill for kill in engine.killed if kill.pid == victim.pid), victim, bystander


def test_a_kill_is_told_with_who_where_why_and_who_stood_next(run, memory, eater):
    _, limited, inner = memory
    engine = run({"name": "eaters", "match": {"comm": "hf-victim"}, "oom_score_adj": 500})
    deadline = time.monotonic() + 30  # the kernel prints ten tables in five seconds at most, whoever asks
    while True:
        kill, victim, bystander = kill_one(engine, eater)
        if kill.predicted or time.monotonic() > deadline:
            break
    assert (kill.pid, kill.comm, kill.rule, kill.oom_score_adj) == (victim.pid, "hf-victim", "eaters", 500)
    assert (kill.domain, kill.group) == (limited, inner)
    assert [standing.pid for standing in kill.predicted] == [victim.pid, bystander.pid]
    assert kill.predicted[0].points > kill.predicted[1].points
    assert abs(kill.at_ns - time.time_ns()) < 60e9
    assert kill.pressure_pct is not None or not os.path.exists("/proc/pressure/memory")
    assert engine.kills.latest(1) == (kill,)
    assert counter(engine.engine.tally.kills, limited, "", "", "") >= 1


def test_kills_while_nobody_looked_are_in_the_record_but_no_news(run, memory, eater):
    engine = run()
    engine.stop()
    victim = eater("hf-victim", 100)
    assert eat(victim) == ""
    victim.wait()
    again = run()
    later, _, _ = kill_one(again, eater)  # the log is read in order: once this one is told, what was before is known
    assert [kill.comm for kill in again.kills.latest() if kill.pid == victim.pid] == ["hf-victim"]
    assert again.killed == [later]
    number = len(again.kills.latest())
    again.stop()
    third = run()
    kill_one(third, eater)
    assert len(third.kills.latest()) == number + 1


def test_a_kill_that_cannot_be_recorded_is_told_and_the_engine_goes_on(run, memory, eater, caplog):
    engine = run()
    engine.kills._db.execute("PRAGMA query_only = 1")  # as on a disk that went read-only
    kill, victim, _ = kill_one(engine, eater)
    assert kill.pid == victim.pid
    assert engine.kills.latest() == ()
    assert "an OOM kill is not recorded" in [record.getMessage() for record in caplog.records]
    assert engine.engine.status().running
    engine.kills._db.execute("PRAGMA query_only = 0")
    later, _, _ = kill_one(engine, eater)
    assert engine.kills.latest(1) == (later,)


def test_without_the_kernel_log_kills_are_counted_by_group(run, memory, eater, tmp_path, caplog):
    _, limited, inner = memory
    engine = run(kmsg=str(tmp_path / "nothing"))
    victim = eater("hf-victim", 100)
    assert eat(victim) == ""
    victim.wait()
    engine.sweep()
    mine = [kill for kill in engine.killed if kill.group in (limited, inner)]
    assert len(mine) == 1
    assert (mine[0].pid, mine[0].comm, mine[0].domain) == (0, "", limited)
    assert "OOM kills are counted without the kernel log" in [record.getMessage() for record in caplog.records]
