"""Undone means as if we had never been there: races, trees of processes and kill -9, over the real kernel.

``HOLDFAST_SOAK=N`` makes each of them N times as long.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from holdfast.cgroups import UNIFIED, Mode, detect
from holdfast.node.engine.keeper import give_back
from holdfast.node.journal.journal import Journal
from holdfast.node.model.placement import State
from holdfast.process import read_boot_id

from tests.integration.node_kit import NAME, adj_of, group_of, set_adj

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]

SOAK = int(os.environ.get("HOLDFAST_SOAK", "1"))
ROOT = Path(__file__).parents[2]
#: A process that does what its lines say: take another name, fork one that stays, fork one in the background.
OBEY = r"""
import os, sys
name = os.open('/proc/self/comm', os.O_WRONLY)
for line in iter(sys.stdin.readline, ''):
    what, _, given = line.strip().partition(' ')
    if what == 'name':
        os.write(name, given.encode())
    elif what in ('fork', 'daemon', 'run'):
        pid = os.fork()
        if pid == 0:
            if what == 'daemon':
                os.setsid()
                if os.fork():
                    os._exit(0)
            os.dup2(os.open('/dev/null', os.O_RDONLY), 0)
            if what == 'run':
                os.execlp(given, given, '600')
            if given:
                os.write(os.open('/proc/self/comm', os.O_WRONLY), given.encode())
            print(os.getpid(), flush=True)
            import signal
            signal.pause()
        if what == 'daemon':
            os.waitpid(pid, 0)
        if what == 'run':
            print(pid, flush=True)
        continue
    print('done', flush=True)
"""


class Obedient:
    """A process of a name, a value and a group of its own."""

    def __init__(self, tree, group, adj):
        self.process = subprocess.Popen(
            [sys.executable, "-SE", "-c", OBEY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid
        set_adj(self.pid, adj)
        tree.join(group, self.pid)
        self.name("hf-nobody")

    def tell(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def name(self, name):
        self.tell(f"name {name}")
        assert self.process.stdout.readline() == "done\n"

    def child(self, line):
        """Fork as told; its pid."""
        self.tell(line)
        return int(self.process.stdout.readline())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def tree(hierarchy):
    return hierarchy.tree(UNIFIED if hierarchy.mode is Mode.UNIFIED else hierarchy.name_of("pids"))


@pytest.fixture
def places(tree, group):
    """Two groups of others."""
    made = [f"{group}/src1", f"{group}/src2"]
    for path in made:
        tree.create(path, ["pids"] if tree.name == UNIFIED else ())
    return made


@pytest.fixture
def obedient(tree, places):
    """Starts obedient processes; they and what they forked end when the test does."""
    started, forked = [], []

    def start(adj=7, group=None):
        one = Obedient(tree, group or places[0], adj)
        started.append(one)
        return one

    start.forked = forked
    yield start
    for one in started:
        one.end()
    for pid in forked:
        os.kill(pid, signal.SIGKILL)
    for pid in forked:
        wait_until(lambda pid=pid: has_ended(pid))


@pytest.fixture
def rule(group):
    return {"match": {"comm": NAME}, "oom_score_adj": 500, "cgroup": {"path": f"{group}/ours", "controllers": ["pids"]}}


def state_of(pid, tree):
    return adj_of(pid), group_of(pid, tree.name)


def has_ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- races -------------------------------------------------------------------------------------------------------------


def test_who_leaves_a_rule_while_its_move_is_under_way_is_back(run, obedient, rule, tree, places):
    engine = run(rule)
    processes = [obedient() for _ in range(20)]
    for _ in range(3 * SOAK):
        for one in processes:
            one.name(NAME)
            time.sleep(random.uniform(0, 0.02))  # the race itself: a move takes 0 to 20 ms
            one.name("hf-nobody")
        engine.settle()
        engine.settle()
        assert {state_of(one.pid, tree) for one in processes} == {(7, places[0])}
    engine.sweep()
    assert engine.table.processes == {}


def test_where_another_program_moves_it_meanwhile_is_where_it_goes_back_to(run, obedient, rule, tree, places):
    engine = run(rule)
    wrong = 0
    for _ in range(3 * SOAK):
        processes = [obedient() for _ in range(10)]
        for one in processes:
            one.name(NAME)
            time.sleep(random.uniform(0.0005, 0.02))
            tree.join(places[1], one.pid)
        engine.settle()
        engine.engine.restore().result(60)
        wrong += sum(state_of(one.pid, tree) != (7, places[1]) for one in processes)
        engine.set_rules(rule)
    assert wrong <= SOAK, "between the last look and the move there are microseconds, not none"


# -- trees -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["rules", "restore", "stop"])
def test_a_tree_of_processes_is_as_it_was(run, obedient, rule, tree, places, how):
    """A leader, workers it forked, programs it ran, and one in the background whose parents ended (as sshd's)."""
    engine = run(rule)
    leader = obedient()
    leader.name(NAME)
    engine.settle()
    children = [leader.child("fork"), leader.child("fork hf-worker"), leader.child("run sleep")]
    background = [leader.child("daemon"), leader.child("daemon hf-other")]
    obedient.forked += [*children, *background]
    wait_until(lambda: Path(f"/proc/{children[2]}/comm").read_text() == "sleep\n")  # its exec is not its fork
    engine.settle()
    engine.sweep()
    everybody = [leader.pid, *children, *background]
    assert {state_of(pid, tree) for pid in everybody} == {(500, f"{places[0][:-5]}/ours")}
    shown = {placed.pid: (placed.state, placed.adj_before) for placed in engine.engine.placements()}
    assert set(shown) == set(everybody)
    assert {before for _, before in shown.values()} == {7}
    assert {shown[pid][0] for pid in (children[1], children[2], background[1])} == {State.INHERITED}
    if how == "rules":
        engine.set_rules()
        engine.sweep()
    elif how == "restore":
        restored = engine.engine.restore().result(60)
        assert (restored.given_back, restored.failed) == (2 * len(everybody), ())
    else:
        engine.engine.stop(restore=True)
    assert {state_of(pid, tree) for pid in everybody} == {(7, places[0])}
    assert not tree.exists(f"{places[0][:-5]}/ours")
    assert engine.rows() == []


def test_a_tree_is_found_after_kill_9_and_what_forked_meanwhile_too(run, obedient, rule, tree, places, tmp_path):
    engine = run(rule)
    leader = obedient()
    leader.name(NAME)
    engine.settle()
    engine.engine.stop()
    engine.journal.close()
    child = leader.child("fork hf-worker")
    obedient.forked.append(child)
    journal = Journal(tmp_path / "journal", read_boot_id("/proc"))
    found = detect("/proc", "/sys/fs/cgroup")
    restored = give_back("/proc", found, journal)
    assert (restored.given_back, list(journal.table.rows())) == (4, [])
    assert {state_of(pid, tree) for pid in (leader.pid, child)} == {(7, places[0])}
    journal.close()
    found.close()


# -- kill -9 at any moment ---------------------------------------------------------------------------------------------

DAEMON = """
import sys
from pathlib import Path
from tests.integration.node_kit import Running
import json
rules = json.loads(sys.argv[2])
engine = Running(Path(sys.argv[1]), rescan_s=0.5)
engine.set_rules(*rules)
print("up", flush=True)
sys.stdin.read()
"""


def test_killed_at_random_moments_over_churning_processes_everything_can_be_given_back(
    obedient, rule, tree, places, group, tmp_path
):
    import json

    random.seed(1)
    in_place = {"name": "in-place", "match": {"comm": "hf-in-place"}, "in_place": {"pids.max": 77}}
    kids = {"name": "kids", "match": {"comm": "hf-kids"}, "oom_score_adj": {"value": 410, "children": 55}}
    names = [NAME, "hf-in-place", "hf-kids", "hf-nobody"]
    own = {}
    for path in places:
        tree.write(path, "pids.max", "1000")
    processes = [obedient(adj=random.choice((0, 3, 120, 801))) for _ in range(12)]
    for one in processes:
        own[one.pid] = state_of(one.pid, tree)

    def churn():
        one = random.choice(processes)
        what = random.random()
        if what < 0.6:
            one.name(random.choice(names))
        elif what < 0.75:
            value = random.choice((1, 11, 211, 702))
            set_adj(one.pid, value)
            own[one.pid] = (value, own[one.pid][1])
        elif what < 0.9:
            path = random.choice(places)
            tree.join(path, one.pid)
            own[one.pid] = (own[one.pid][0], path)
        elif len(own) < 40:
            child = one.child(f"fork {random.choice(names)}")
            obedient.forked.append(child)
            own[child] = own[one.pid]

    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/service:{ROOT}"}
    for _ in range(6 * SOAK):
        command = [sys.executable, "-c", DAEMON, str(tmp_path), json.dumps([rule, in_place, kids])]
        daemon = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if random.random() < 0.8:
            assert daemon.stdout.readline() == "up\n"
        end = time.monotonic() + random.uniform(0, 0.6)
        while time.monotonic() < end:
            churn()
        daemon.kill()
        daemon.wait()
        daemon.stdin.close()
        daemon.stdout.close()
    journal = Journal(tmp_path / "journal", read_boot_id("/proc"))
    found = detect("/proc", "/sys/fs/cgroup")
    restored = give_back("/proc", found, journal)
    assert (restored.failed, list(journal.table.rows())) == ((), [])
    assert {pid: state_of(pid, tree) for pid in own} == own
    assert {tree.read(path, "pids.max") for path in places} == {"1000"}
    assert not tree.exists(f"{group}/ours")
    journal.close()
    found.close()
