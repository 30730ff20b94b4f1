"""Trees of processes as PostgreSQL, a browser and sshd make them: protected, then undone, each as it was in /proc.

Each sets values of its own where the real program does: a PostgreSQL worker takes PG_OOM_ADJUST_VALUE, a browser's
renderer makes itself the first to die, sshd gives a session what it had itself when it started.
"""

import os
import shutil
import sys

import pytest
from holdfast.node.proc.host import capabilities

from tests.integration.node_kit import adj_of, group_of, set_adj
from tests.integration.test_way_back import NAME, obedient, places, tree  # noqa: F401 (fixtures)
from tests.running import until

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

#: What a match is protected by. Where nothing below 0 may be written, by a value below what it has.
LOWEST = -900 if "CAP_SYS_RESOURCE" in capabilities("/proc") else 20
BASE = 300
ON_RENDERER = 500


class Grown:
    """A tree that has grown, with what each process has in /proc without us."""

    def __init__(self, forked, tree):  # noqa: F811
        self.forked, self.tree = forked, tree
        self.own = {}

    def add(self, pid, adj, group):
        self.own[pid] = (adj, group)

    def now(self):
        return {pid: (adj_of(pid), group_of(pid, self.tree.name)) for pid in self.own}


@pytest.fixture
def grown(obedient, tree):  # noqa: F811
    return Grown(obedient.forked, tree)


@pytest.fixture
def top(obedient, grown, places, tmp_path):  # noqa: F811
    """The process from which a tree grows: of a program of its own, so that it is a leader."""
    program = tmp_path / "program"
    shutil.copy(os.path.realpath(sys.executable), program)
    started = obedient(adj=BASE, executable=program)
    grown.add(started.pid, BASE, places[0])
    return started


def child_of(one, grown, places, line, adj=None, after=lambda: None):  # noqa: F811
    """One more process, which sets its own value where it is given, ``after`` that; its pid.

    A value that is set between our last read of the child and our write, microseconds, is overwritten.
    """
    pid = one.child(line)
    grown.forked.append(pid)
    if adj is not None:
        after()
        set_adj(pid, adj)
    grown.add(pid, BASE if adj is None else adj, places[0])
    return pid


def settled(engine):
    engine.settle()
    engine.sweep()


def undo(engine, how):
    if how == "rules":
        engine.set_rules()
        engine.sweep()
    elif how == "restore":
        assert engine.engine.restore().result(60).failed == ()
    else:
        engine.engine.stop(restore=True)
    assert engine.rows() == []


HOW = pytest.mark.parametrize("how", ["rules", "restore", "stop"])


@HOW
def test_postgresql(run, top, places, group, grown, how):  # noqa: F811
    """The postmaster is protected and moved; its workers get the base back, one chose its own value."""
    protects = {"match": {"comm": NAME, "leader": True}, "oom_score_adj": {"value": LOWEST, "children": "base"}}
    engine = run({**protects, "cgroup": {"path": f"{group}/ours", "controllers": ["pids"]}})
    before = child_of(top, grown, places, "fork hf-before")  # before any rule matches
    top.name(NAME)
    settled(engine)
    workers = [child_of(top, grown, places, f"fork {NAME}") for _ in range(3)]
    chose = child_of(top, grown, places, f"fork {NAME}", 400, after=engine.settle)
    settled(engine)
    values = {pid: adj for pid, (adj, _) in grown.now().items()}
    assert values == {top.pid: LOWEST, before: BASE, **dict.fromkeys(workers, BASE), chose: 400}
    assert group_of(top.pid, grown.tree.name) == f"{group}/ours"
    undo(engine, how)
    assert grown.now() == grown.own


@HOW
def test_a_browser(run, top, places, grown, how):  # noqa: F811
    """All of one name: the one that the user sees is protected, what it forks is not; renderers stay as they chose."""
    protects = {"match": {"comm": NAME, "leader": True}, "oom_score_adj": {"value": LOWEST, "children": "base"}}
    engine = run(protects)
    top.name(NAME)
    settled(engine)
    zygote = child_of(top, grown, places, f"fork {NAME}")
    renderers = [child_of(top, grown, places, f"fork {NAME}", ON_RENDERER + at, engine.settle) for at in range(3)]
    gpu = child_of(top, grown, places, "fork hf-gpu", 200 + BASE, engine.settle)
    downloaded = child_of(top, grown, places, "run sleep")
    settled(engine)
    values = {pid: adj for pid, (adj, _) in grown.now().items()}
    chosen = {pid: grown.own[pid][0] for pid in (*renderers, gpu)}
    assert values == {top.pid: LOWEST, zygote: BASE, downloaded: BASE, **chosen}
    undo(engine, how)
    assert grown.now() == grown.own


@HOW
def test_sshd(run, top, places, group, grown, how):  # noqa: F811
    """The listener is protected; a session has the base, and so has what it leaves behind in the background."""
    protects = {"match": {"comm": NAME, "leader": True}, "oom_score_adj": {"at_most": LOWEST}}
    engine = run({**protects, "cgroup": {"path": f"{group}/ours", "controllers": ["pids"]}})
    top.name(NAME)
    settled(engine)
    sessions = [child_of(top, grown, places, f"fork {NAME}", BASE, engine.settle) for _ in range(2)]
    shell = child_of(top, grown, places, "run sleep")
    background = [child_of(top, grown, places, line) for line in ("daemon hf-screen", "daemon hf-agent")]
    until(lambda: comm_of(shell) == "sleep")
    settled(engine)
    assert adj_of(top.pid) == LOWEST
    assert {adj_of(pid) for pid in (*sessions, shell, *background)} == {BASE}
    undo(engine, how)
    assert grown.now() == grown.own
    assert not grown.tree.exists(f"{group}/ours")


def comm_of(pid):
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()
