"""kill -9 at every boundary: before and after each commit to the journal and each write to the kernel.

A child runs the engine and kills itself at the n-th boundary; whatever it left, `give_back` must bring everything to
where it was. n goes up until a child gets through unharmed, so every boundary there is has been died at.
"""

import os
import signal
import traceback

import pytest
from holdfast.cgroups import UNIFIED, Mode, detect, files
from holdfast.node.engine.examiner import give_back
from holdfast.node.journal.journal import Journal
from holdfast.process import OpenProcess, read_boot_id

from tests.integration.node_kit import NAME, Running, adj_of, group_of, set_adj

pytestmark = pytest.mark.root

DRIFTED = 100
BOUNDARIES = (
    (Journal, ("commit", "forget", "_write", "_write_anew")),
    (files.Mounted, ("_write", "_mkdir", "join", "remove")),
    (OpenProcess, ("exchange",)),
)


def kill_at(lethal):
    """Patch this (forked) process so that it dies at its boundary number ``lethal``; answers the count so far."""
    passed = [0]

    def boundary():
        passed[0] += 1
        if passed[0] == lethal:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()

    def die_around(owner, name):
        real = getattr(owner, name)

        def around(*given, **options):
            boundary()
            answer = real(*given, **options)
            boundary()
            return answer

        setattr(owner, name, around)

    for owner, names in BOUNDARIES:
        for name in names:
            die_around(owner, name)
    return passed


def live(directory, lethal, group, acts, pid):
    """Run the child: the acts, one after the other; its exit code is 0 if it lived through all of them."""
    made = {"path": f"{group}/made/here", "controllers": ["pids"], "settings": {"pids.max": 50}}
    stands = {"path": f"{group}/stands", "controllers": ["pids"], "settings": {"pids.max": 60}}
    engine = Running(directory)
    kill_at(lethal)
    for act in acts:
        if act == "rule":
            engine.set_rules({"match": {"comm": NAME}, "oom_score_adj": 300, "cgroup": made})
        elif act == "other rule":
            engine.set_rules({"match": {"comm": NAME}, "name": "other", "oom_score_adj": 400, "cgroup": stands})
        elif act == "no rule":
            engine.set_rules()
        elif act == "drift":
            set_adj(pid, DRIFTED)
            (directory / "drifted").touch()
        elif act == "hold":
            engine.engine.hold(pid, None, 700, 600, "test").result(20)
        engine.sweep()
    engine.stop(restore="stop" in acts)


def died_at(*given):
    """Whether a child that `live` s so was killed by itself."""
    pid = os.fork()
    if pid == 0:
        try:
            live(*given)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), "the child failed"
    return status != 0


def restore_all(directory):
    boot_id = read_boot_id("/proc")
    journal = Journal(directory / "journal", boot_id)
    found = detect("/proc", "/sys/fs/cgroup")
    restored = give_back("/proc", found, journal)
    left = list(journal.table.rows())
    journal.close()
    found.close()
    return restored, left


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "acts",
    [("rule", "hold"), ("rule", "other rule"), ("rule", "drift", "no rule"), ("other rule", "stop")],
    ids=" then ".join,
)
def test_whenever_it_is_killed_everything_can_be_given_back(acts, hierarchy, group, sleeper, program, tmp_path):
    tree = hierarchy.tree(UNIFIED if hierarchy.mode is Mode.UNIFIED else hierarchy.name_of("pids"))
    tree.create(f"{group}/stands", ["pids"] if tree.name == UNIFIED else ())
    tree.write(f"{group}/stands", "pids.max", "100")
    process = sleeper(program, "600")
    set_adj(process.pid, 5)
    was_in = group_of(process.pid, tree.name)
    number = 1
    while True:
        died = died_at(tmp_path, number, group, acts, process.pid)
        restored, left = restore_all(tmp_path)
        own = DRIFTED if (tmp_path / "drifted").exists() else 5  # what somebody else chose since is theirs
        (tmp_path / "drifted").unlink(missing_ok=True)
        state = (adj_of(process.pid), group_of(process.pid, tree.name), tree.read(f"{group}/stands", "pids.max"))
        assert state == (own, was_in, "100"), (number, restored)
        set_adj(process.pid, 5)
        assert not tree.exists(f"{group}/made"), (number, restored)
        assert (restored.failed, left) == ((), []), number
        if not died:
            break
        number += 1
    assert number > 12, "that few boundaries there are not"
