"""An ordinary user can make a process look like many things, and none of them is protected.

Every attacker is uid 65534. Values stay above 0, so that these run without CAP_SYS_RESOURCE: a process with 800 is
protected where a rule brings it to 300. `tests/v2/test_claims.py` runs them all again below 0's border.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from holdfast.cgroups import UNIFIED, parse_groups
from holdfast.node.model.decision import Reason
from holdfast.node.model.placement import Happening
from holdfast.pods.directory import Directory
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord

from tests.integration.conftest import group, hierarchy, run, until_asleep  # noqa: F401 (fixtures)
from tests.integration.node_kit import adj_of, group_of, set_adj, stop_process
from tests.running import until

pytestmark = pytest.mark.root

NOBODY = 65534
BASE, PROTECTED = 800, 300
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
SLEEP = os.path.realpath("/usr/bin/sleep")
UID, POD, APP = "11111111-2222-3333-4444-555555555555", "a" * 64, "b" * 64


@pytest.fixture
def place():
    """A folder in which root alone may write, on a file system whose owners are trusted: not /tmp, not /run."""
    path = Path(f"/opt/holdfast-test-{os.getpid()}")
    path.mkdir(mode=0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def daemon(place):
    """The program that the rules of these tests are about: a file of root's."""
    path = place / "hf-claimed"
    shutil.copy(shutil.which("sleep"), path)
    path.chmod(0o755)
    return path


@pytest.fixture
def spawn():
    """Starts programs at the base; they are ended with what they started, when the test ends."""
    started = []

    def start(*command, **options):
        raised = ("sh", "-c", f'echo {BASE} > /proc/self/oom_score_adj && exec "$@"', "sh", *command)
        process = subprocess.Popen(raised, stdin=subprocess.PIPE, start_new_session=True, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def comes_to_run(pid, program):
    """Wait for the exec that makes it the program it is about, and then for the program to be asleep."""
    while os.readlink(f"/proc/{pid}/exe") != str(program):
        os.sched_yield()
    until_asleep(pid)


def rule(match, **more):
    return {"name": "claimed", "match": match, "oom_score_adj": PROTECTED, "trust_claims": False, **more}


def by_exe(daemon, user=NOBODY, **more):
    return rule({"exe": str(daemon), "user": user}, **more)


def claims(engine, pid):
    """The reasons why the rule does not protect a process."""
    placement = engine.placement(pid)
    return [some.detail for some in placement.refusals if some.reason is Reason.CLAIM] if placement else []


def test_the_real_program_of_the_real_user_is_protected_before_and_after_the_rule_comes(run, spawn, daemon):  # noqa: F811
    before = spawn(*AS_NOBODY, str(daemon), "600")
    comes_to_run(before.pid, daemon)
    engine = run(by_exe(daemon))
    after = spawn(*AS_NOBODY, str(daemon), "600")
    comes_to_run(after.pid, daemon)
    engine.settle()
    assert [adj_of(some.pid) for some in (before, after)] == [PROTECTED, PROTECTED], claims(engine, after.pid)
    assert not engine.placement(after.pid).by_claim


def test_a_file_bound_over_the_program_in_a_users_own_namespace_is_another_file(run, spawn, daemon):  # noqa: F811
    engine = run(by_exe(daemon))
    mine = f"mount --bind {shutil.which('sleep')} {daemon} && exec {daemon} 600"
    forged = spawn(*AS_NOBODY, "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mine)
    comes_to_run(forged.pid, daemon)
    engine.sweep()
    assert adj_of(forged.pid) == BASE
    assert any("is another file" in detail for detail in claims(engine, forged.pid))


def test_a_set_user_id_program_is_not_roots(run, spawn, daemon):  # noqa: F811
    daemon.chmod(0o4755)
    engine = run(by_exe(daemon, user=0))
    forged = spawn(*AS_NOBODY, str(daemon), "600")
    comes_to_run(forged.pid, daemon)
    engine.sweep()
    assert adj_of(forged.pid) == BASE
    assert any(f"started by uid {NOBODY}" in detail for detail in claims(engine, forged.pid))


@pytest.mark.parametrize("mode", ["chown", "chmod"])
def test_a_program_in_a_folder_of_somebody_elses_is_a_claim_though_it_is_roots(run, spawn, place, daemon, mode):  # noqa: F811
    folder = place / "theirs"
    folder.mkdir()
    shutil.copy(daemon, folder / "hf-claimed")
    if mode == "chown":
        os.chown(folder, NOBODY, NOBODY)
    else:
        folder.chmod(0o1777)  # that it is sticky does not help
    engine = run(by_exe(folder / "hf-claimed"))
    some = spawn(*AS_NOBODY, str(folder / "hf-claimed"), "600")
    comes_to_run(some.pid, folder / "hf-claimed")
    engine.sweep()
    assert adj_of(some.pid) == BASE
    who = f"uid {NOBODY}" if mode == "chown" else "others"
    assert any(f"{folder} is writable by {who}" in detail for detail in claims(engine, some.pid))


def test_a_file_that_its_group_may_write_is_a_claim(run, spawn, daemon):  # noqa: F811
    daemon.chmod(0o775)
    engine = run(by_exe(daemon))
    some = spawn(*AS_NOBODY, str(daemon), "600")
    comes_to_run(some.pid, daemon)
    engine.sweep()
    assert adj_of(some.pid) == BASE


def test_a_roots_file_on_a_nosuid_mount_is_a_claim(run, spawn, place):  # noqa: F811
    stick = place / "stick"
    stick.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,mode=755", "none", stick], check=True)
    try:
        shutil.copy(shutil.which("sleep"), stick / "hf-claimed")
        engine = run(by_exe(stick / "hf-claimed"))
        some = spawn(*AS_NOBODY, str(stick / "hf-claimed"), "600")
        comes_to_run(some.pid, stick / "hf-claimed")
        engine.sweep()
        assert adj_of(some.pid) == BASE
        assert any("nosuid" in detail for detail in claims(engine, some.pid))
        stop_process(some)
    finally:
        subprocess.run(["umount", "-l", stick], check=True)


def test_what_loses_its_ground_by_an_exec_loses_the_protection(run, spawn, place, daemon):  # noqa: F811
    theirs = place / "hf-theirs"
    shutil.copy(daemon, theirs)
    os.chown(theirs, NOBODY, NOBODY)
    shell = place / "sh"
    shutil.copy(shutil.which("sh"), shell)
    engine = run(rule({"exe": f"{place}/*", "user": NOBODY}))
    some = spawn(*AS_NOBODY, str(shell), "-c", f"read x; exec {theirs} 600")
    comes_to_run(some.pid, shell)
    engine.settle()
    assert adj_of(some.pid) == PROTECTED
    some.stdin.write(b"\n")
    some.stdin.flush()
    comes_to_run(some.pid, theirs)
    engine.settle()
    assert adj_of(some.pid) == BASE
    assert any(f"{theirs} is writable by uid {NOBODY}" in detail for detail in claims(engine, some.pid))


class TestAnUpgrade:
    """A package manager unlinks the program of a running daemon and puts another in its place."""

    @staticmethod
    def upgrade(daemon):
        fresh = daemon.with_suffix(".new")
        shutil.copy(shutil.which("sleep"), fresh)
        fresh.rename(daemon)

    def test_does_not_unprotect_the_daemon_that_runs(self, run, spawn, daemon):  # noqa: F811
        engine = run(by_exe(daemon))
        some = spawn(*AS_NOBODY, str(daemon), "600")
        comes_to_run(some.pid, daemon)
        engine.settle()
        self.upgrade(daemon)
        set_adj(some.pid, 900)
        engine.sweep()
        assert (adj_of(some.pid), claims(engine, some.pid)) == (PROTECTED, [])

    def test_does_not_unprotect_it_after_our_own_restart(self, run, spawn, daemon):  # noqa: F811
        some = spawn(*AS_NOBODY, str(daemon), "600")
        comes_to_run(some.pid, daemon)
        self.upgrade(daemon)
        engine = run(by_exe(daemon))
        assert (adj_of(some.pid), claims(engine, some.pid)) == (PROTECTED, [])

    def test_leaves_what_a_daemon_in_a_namespace_of_its_own_has_and_gives_nothing_new(self, run, spawn, daemon):  # noqa: F811
        some = spawn("unshare", "--mount", *AS_NOBODY, str(daemon), "600")
        comes_to_run(some.pid, daemon)
        first = run(by_exe(daemon))
        assert adj_of(some.pid) == PROTECTED
        self.upgrade(daemon)
        first.sweep()
        assert (adj_of(some.pid), claims(first, some.pid)) == (PROTECTED, [])
        first.stop()
        second = run(by_exe(daemon))
        assert adj_of(some.pid) == PROTECTED
        assert any("mount namespace of its own" in detail for detail in claims(second, some.pid))
        set_adj(some.pid, 900)
        second.sweep()
        assert adj_of(some.pid) == 900

    def test_in_a_users_own_namespace_makes_nothing_a_fact(self, run, spawn, place, daemon):  # noqa: F811
        bound = place / "bound"
        shutil.copy(daemon, bound)
        mine = f"mount --bind {bound} {daemon} && exec {daemon} 600"
        forged = spawn(*AS_NOBODY, "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mine)
        comes_to_run(forged.pid, daemon)
        bound.unlink()  # now it reads like an upgraded daemon: "… (deleted)", a file of root's
        assert os.readlink(f"/proc/{forged.pid}/exe") == f"{daemon} (deleted)"
        engine = run(by_exe(daemon))
        assert adj_of(forged.pid) == BASE
        assert claims(engine, forged.pid)

    def test_a_memfd_is_no_program_of_the_hosts(self, run, spawn):  # noqa: F811
        code = "import os; f = os.memfd_create('x'); os.write(f, open('/bin/sleep','rb').read()); "
        code += "os.execv(f'/proc/self/fd/{f}', ['x', '600'])"
        engine = run(rule({"exe": "/memfd:*", "user": 0}))
        some = spawn("python3", "-c", code)
        comes_to_run(some.pid, "/memfd:x (deleted)")
        engine.sweep()
        assert adj_of(some.pid) == BASE


@pytest.fixture
def delegated(hierarchy, group):  # noqa: F811
    """A group that a user owns, as a service manager delegates it, in the hierarchy that says where a process is."""
    tree = hierarchy.trees[UNIFIED] if UNIFIED in hierarchy.trees else hierarchy.tree(hierarchy.name_of("memory"))
    tree.create(group)
    top = Path(tree.at(group))
    for path in (top, *top.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    return top


def enters(path):
    """A shell command that joins a group below a delegated one, made by its owner."""
    return f"mkdir -p '{path}' && echo $$ > '{path}/cgroup.procs' && exec sleep 600"


def spawn_inside(spawn, delegated, path):
    joined = spawn("sh", "-c", f'echo $$ > {delegated}/cgroup.procs && exec {" ".join(AS_NOBODY)} sh -c "$0"', path)
    comes_to_run(joined.pid, SLEEP)
    return joined


def test_a_delegated_groups_owner_forges_no_units_path(run, spawn, delegated):  # noqa: F811
    match = {"cgroup": "/system.slice/hf-claimed.service", "user": NOBODY}
    engine = run(rule(match))
    forged = spawn_inside(spawn, delegated, enters(f"{delegated}/a\r0::/system.slice/hf-claimed.service"))
    engine.sweep()
    assert adj_of(forged.pid) == BASE
    assert engine.placement(forged.pid) is None


@pytest.fixture
def delegated_everywhere(hierarchy, group):  # noqa: F811
    """The same in each hierarchy that says where a process is: v2's, or on v1 the memory's and systemd's."""
    trees = hierarchy.trees
    names = [UNIFIED] if list(trees) == [UNIFIED] else {hierarchy.name_of("memory"), "name=systemd"} & trees.keys()
    tops = []
    for name in names:
        trees[name].create(group)
        tops.append(Path(trees[name].at(group)))
        for path in (tops[-1], *tops[-1].iterdir()):
            os.chown(path, NOBODY, NOBODY)
    return tops


def test_a_group_below_a_delegated_one_is_its_owners_claim(run, spawn, delegated_everywhere, group):  # noqa: F811
    engine = run(rule({"cgroup": f"{group}/hf-claimed.service", "user": NOBODY}))
    joins = "".join(f"echo $$ > {top}/cgroup.procs && " for top in delegated_everywhere)
    made = "".join(f"mkdir {top}/hf-claimed.service && " for top in delegated_everywhere)
    moves = "".join(f"echo $$ > {top}/hf-claimed.service/cgroup.procs && " for top in delegated_everywhere)
    forged = spawn("sh", "-c", f'{joins}exec {" ".join(AS_NOBODY)} sh -c "$0"', f"{made}{moves}exec sleep 600")
    comes_to_run(forged.pid, SLEEP)
    engine.sweep()
    assert adj_of(forged.pid) == BASE
    assert claims(engine, forged.pid)


def test_a_group_of_roots_below_a_delegated_one_is_a_claim_too(run, spawn, delegated_everywhere, group):  # noqa: F811
    places = [top / "hf-claimed.service" for top in delegated_everywhere]
    for place in places:
        place.mkdir()  # its owner's directory is around it, who may make another one of this name
    engine = run(rule({"cgroup": f"{group}/hf-claimed.service", "user": NOBODY}))
    joins = "".join(f"echo $$ > {place}/cgroup.procs && " for place in places)
    some = spawn("sh", "-c", f"{joins}exec {' '.join(AS_NOBODY)} sleep 600")
    comes_to_run(some.pid, SLEEP)
    engine.sweep()
    assert adj_of(some.pid) == BASE
    assert claims(engine, some.pid)


@pytest.mark.parametrize("leaf", [f"kubepods/pod{UID}/{APP}", APP])
def test_a_directory_called_as_a_pods_is_no_pods(run, spawn, delegated, leaf):  # noqa: F811
    pods = Directory()
    pods.put_pod(PodRecord(POD, UID, "db", "pg-0", labels={"app": "postgres"}))
    pods.put_container(
        ContainerRecord(APP, POD, "postgres", ContainerState.RUNNING, cgroups_path=f"/kubepods/pod{UID}/{APP}")
    )
    engine = run(
        {"name": "raised", "match": {"pod": {"namespace": "db", "container": "postgres"}}, "oom_score_adj": 950},
        rule({"pod": {"namespace": "db"}}),
        pods=pods,
    )
    forged = spawn_inside(spawn, delegated, enters(f"{delegated}/{leaf}"))
    engine.sweep()
    assert (adj_of(forged.pid), engine.placement(forged.pid)) == (BASE, None)


@pytest.mark.parametrize("named", [True, False])
def test_a_pod_is_protected_in_the_group_that_its_runtime_names_alone(run, spawn, hierarchy, group, named):  # noqa: F811
    tree = hierarchy.tree(hierarchy.name_of("memory"))
    real = f"{group}/kubepods/pod{UID}/{APP}"
    tree.create(real)
    pods = Directory()
    pods.put_pod(PodRecord(POD, UID, "db", "pg-0"))
    pods.put_container(ContainerRecord(APP, POD, "pg", ContainerState.RUNNING, cgroups_path=real if named else ""))
    some = spawn("sleep", "600")
    comes_to_run(some.pid, SLEEP)
    tree.join(real, some.pid)
    engine = run(rule({"pod": {"namespace": "db"}}), pods=pods)
    assert adj_of(some.pid) == (PROTECTED if named else BASE)
    assert bool(claims(engine, some.pid)) is not named
    assert engine.engine.status().kubelet_cgroup == f"{group}/kubepods"


class TestChildren:
    """A child inherits its parent's value from the kernel; protection it has from no rule."""

    FORKS = 'read x; "$1" 600 >/dev/null & echo $!; read x'

    @pytest.fixture
    def family(self, spawn, place):
        """A parent that starts a child of another program on a signal."""
        shell = place / "hf-claimed"
        shutil.copy(shutil.which("sh"), shell)

        def start(program=SLEEP):
            parent = spawn(*AS_NOBODY, str(shell), "-c", self.FORKS, "sh", program, stdout=subprocess.PIPE)
            comes_to_run(parent.pid, shell)
            return parent

        def bear(parent, program=SLEEP):
            parent.stdin.write(b"\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            comes_to_run(child, program)
            return child

        return shell, start, bear

    def test_what_no_rule_matches_goes_back_to_the_base_at_its_exec(self, run, family):  # noqa: F811
        shell, start, bear = family
        engine = run(by_exe(shell))
        parent = start()
        engine.settle()
        child = bear(parent)
        engine.settle()
        assert (adj_of(parent.pid), adj_of(child)) == (PROTECTED, BASE)
        assert engine.placement(child).as_child
        engine.set_rules()
        assert (adj_of(parent.pid), adj_of(child)) == (BASE, BASE)
        assert engine.happenings(child)[-1] is Happening.RELEASED

    @pytest.mark.parametrize(("name", "raises"), [("hf-raises", True), ("runc:[1:CHILD]", False)])
    def test_neither_a_raise_of_its_own_nor_a_name_keeps_it(self, run, spawn, place, name, raises):  # noqa: F811
        shell, program = place / "hf-claimed", place / name
        shutil.copy(shutil.which("sh"), shell)
        shutil.copy(shutil.which("sleep"), program)
        first = f"echo {PROTECTED + 1} >/proc/self/oom_score_adj;" if raises else ""
        forks = f'read x; ({first} exec "$1" 600 >/dev/null) & echo $!; read x'
        engine = run(by_exe(shell))
        parent = spawn(*AS_NOBODY, str(shell), "-c", forks, "sh", str(program), stdout=subprocess.PIPE)
        comes_to_run(parent.pid, shell)
        engine.settle()
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        comes_to_run(child, program)
        engine.settle()
        assert (adj_of(parent.pid), adj_of(child)) == (PROTECTED, BASE)

    def test_what_was_there_before_is_found_by_a_rescan(self, run, family):  # noqa: F811
        shell, start, bear = family
        parent = start()
        set_adj(parent.pid, PROTECTED)  # as if the child were born of a parent of ours
        child = bear(parent)
        set_adj(parent.pid, BASE)
        engine = run(by_exe(shell))
        engine.sweep()
        assert (adj_of(parent.pid), adj_of(child)) == (PROTECTED, BASE)

    def test_a_rule_may_let_them_inherit_and_says_so(self, run, family):  # noqa: F811
        shell, start, bear = family
        engine = run(by_exe(shell, oom_score_adj={"value": PROTECTED, "children": "inherit"}))
        parent = start()
        engine.settle()
        child = bear(parent)
        engine.sweep()
        assert (adj_of(parent.pid), adj_of(child)) == (PROTECTED, PROTECTED)
        assert engine.placement(child).inherited

    @pytest.mark.parametrize(("inherits", "its"), [(None, "limited"), ("inherit", "free")])
    def test_what_no_rule_moves_leaves_a_group_that_protects(self, run, family, hierarchy, group, inherits, its):  # noqa: F811
        shell, start, bear = family
        tree = hierarchy.tree(hierarchy.name_of("pids"))
        tree.create(f"{group}/limited", ["pids"])
        tree.write(f"{group}/limited", "pids.max", "100")
        parent = start()
        tree.join(f"{group}/limited", parent.pid)
        target = {"path": f"{group}/free", "controllers": ["pids"]}
        adjustment = {"value": PROTECTED, "children": inherits}
        engine = run(by_exe(shell, oom_score_adj=adjustment, cgroup=target, leave_limits=True))
        assert group_of(parent.pid, tree.name) == f"{group}/free"
        child = bear(parent)
        engine.settle()
        assert [group_of(pid, tree.name) for pid in (parent.pid, child)] == [f"{group}/free", f"{group}/{its}"]
        engine.set_rules()
        assert [group_of(pid, tree.name) for pid in (parent.pid, child)] == [f"{group}/limited"] * 2

    def test_a_child_that_a_rule_matches_by_a_claim_inherits_nothing_either(self, run, family, place):  # noqa: F811
        shell, start, bear = family
        theirs = place / "hf-theirs"
        shutil.copy(SLEEP, theirs)
        os.chown(theirs, NOBODY, NOBODY)
        engine = run(by_exe(shell), {**by_exe(theirs), "name": "by-claim"})
        parent = start(str(theirs))
        engine.settle()
        child = bear(parent, theirs)
        engine.settle()
        assert (adj_of(parent.pid), adj_of(child)) == (PROTECTED, BASE)
        assert claims(engine, child)


class TestAChildWhoseParentEndedAtOnce(TestChildren):
    """A double fork: the process between the protected one and its descendant ended before the engine examines it."""

    FORKS = 'read x; ("$1" 600 >/dev/null & echo $!); read x'
    test_what_was_there_before_is_found_by_a_rescan = None  # nobody can say of an orphan that was there before us


#: Becomes the user, and ends its first thread: to ``/proc/PID`` it is a zombie from then on, and another thread lives.
HEADLESS = """
import ctypes, os, sys, threading, time
open("/proc/self/comm", "w").write(sys.argv[3])
os.setuid(int(sys.argv[1]))
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).syscall(int(sys.argv[2]), 0)
"""
SYS_EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
HEADLESS_NAME = f"hf-h-{os.getpid()}"
PYTHON = os.path.realpath(sys.executable)
HEADLESS_MATCH = {"comm": HEADLESS_NAME, "user": NOBODY, "exe": PYTHON}


def is_headless(pid):
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"


class TestAProcessWhoseFirstThreadEnded:
    """Its other threads live on, with its memory: to the OOM killer it is a process like any other."""

    @staticmethod
    def command(uid):
        return PYTHON, "-c", HEADLESS, str(uid), str(SYS_EXIT), HEADLESS_NAME

    @pytest.fixture
    def headless(self, spawn):
        def start():
            process = spawn(*self.command(NOBODY))
            until(lambda: is_headless(process.pid), "its first thread ends")
            return process.pid

        return start

    def test_evades_no_rule(self, run, headless):  # noqa: F811
        pid = headless()
        engine = run({"name": "raised", "match": HEADLESS_MATCH, "oom_score_adj": 950})
        assert adj_of(pid) == 950
        found = next(one for one in engine.engine.processes() if one.pid == pid)
        assert found.rss_pages
        assert found.cmdline
        engine.set_rules()
        assert adj_of(pid) == BASE

    def test_is_moved_like_another_and_back(self, run, headless, hierarchy, group):  # noqa: F811
        """Where it is, its living thread says: the first one stays where it ended, and on v2 no list has either."""
        name = hierarchy.name_of("pids")
        tree = hierarchy.tree(name)
        tree.create(f"{group}/before", ["pids"])
        pid = headless()
        tree.join(f"{group}/before", pid)
        (thread,) = {int(entry) for entry in os.listdir(f"/proc/{pid}/task")} - {pid}

        def place():
            return parse_groups(Path(f"/proc/{thread}/cgroup").read_bytes())[name]

        target = {"path": f"{group}/limited", "controllers": ["pids"]}
        try:
            engine = run({"name": "limited", "match": HEADLESS_MATCH, "cgroup": target})
            engine.settle()
            assert place() == f"{group}/limited"
            engine.sweep()
            engine.set_rules()
            assert place() == f"{group}/before"
        finally:
            os.kill(pid, signal.SIGKILL)  # no list of the group's has it, so nothing could empty the group

    def test_keeps_no_value_that_it_inherited(self, run, spawn, place):  # noqa: F811
        shell = place / "hf-claimed"
        shutil.copy(shutil.which("sh"), shell)
        forks = 'read x; "$@" >/dev/null & echo $!; read x'
        parent = spawn(str(shell), "-c", forks, "sh", *self.command(0), stdout=subprocess.PIPE)
        comes_to_run(parent.pid, shell)
        set_adj(parent.pid, PROTECTED)  # as if the child were born of a parent of ours
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        until(lambda: is_headless(child), "its first thread ends")
        set_adj(parent.pid, BASE)
        engine = run(by_exe(shell, user=0))
        engine.sweep()
        assert (adj_of(parent.pid), adj_of(child)) == (PROTECTED, BASE)
