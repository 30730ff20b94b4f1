import ctypes
import errno
import os
import subprocess
from multiprocessing import get_context

import pytest
from holdfast.cgroups import UNIFIED, Mode, groups_of
from holdfast.errors import KernelRefused


@pytest.fixture
def tree(hierarchy):
    return hierarchy.tree(UNIFIED)


def refusal(act):
    with pytest.raises(KernelRefused) as caught:
        act()
    return caught.value.errno, caught.value.advice


NOBODY = 65534
CLONE_NEWCGROUP = 0x02000000


def elsewhere(become, act):
    """The refusal that a process meets that first becomes another user; None where it is not refused."""
    ours, theirs = get_context("fork").Pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become()
            act()
            theirs.send(None)
        except KernelRefused as error:
            theirs.send((error.errno, error.advice))
        finally:
            os._exit(0)
    theirs.close()
    os.waitpid(pid, 0)
    return ours.recv()


def test_there_is_one_tree_and_it_has_the_controllers(hierarchy, tree):
    assert (hierarchy.mode, hierarchy.names) == (Mode.UNIFIED, (UNIFIED,))
    assert {"cpu", "memory", "pids"} <= tree.controllers()


def test_a_group_gets_its_controllers_enabled_down_the_path_and_is_joined(tree, group, sleeper):
    pid = sleeper().pid
    made = tree.create(f"{group}/a/b", {"memory", "cpu"})
    assert made == (group, f"{group}/a", f"{group}/a/b")
    assert set(tree.read(f"{group}/a", "cgroup.subtree_control").split()) == {"memory", "cpu"}
    assert tree.read(f"{group}/a/b", "cgroup.subtree_control") == ""
    tree.join(f"{group}/a/b", pid)
    assert groups_of(pid, "/proc") == {UNIFIED: f"{group}/a/b"}
    assert tree.members(f"{group}/a/b") == (pid,)


def test_settings_are_read_back_as_the_kernel_holds_them(tree, group):
    tree.create(group, {"memory", "cpu"})
    assert tree.write(group, "memory.min", str(2**20 + 1)) == str(2**20)
    assert tree.write(group, "memory.max", "max") == "max"
    assert tree.write(group, "cpu.weight", "500") == "500"
    assert tree.write(group, "memory.oom.group", "1") == "1"


def test_a_value_out_of_range_is_refused(tree, group):
    tree.create(group, {"cpu"})
    number, advice = refusal(lambda: tree.write(group, "cpu.weight", "70000"))
    assert number in (errno.ERANGE, errno.EINVAL)
    assert advice.startswith(f"write {tree.at(group)}/cpu.weight: ")
    assert advice.count("\n") == 0


def test_a_group_with_controllers_for_its_children_takes_no_process(tree, group, sleeper):
    tree.create(f"{group}/leaf", {"memory"})
    number, advice = refusal(lambda: tree.join(group, sleeper().pid))
    assert (number, "use a group below it" in advice) == (errno.EBUSY, True)


def test_a_populated_group_enables_no_controller_for_its_children(tree, group, sleeper):
    tree.create(group, {"memory"})
    tree.join(group, sleeper().pid)
    number, advice = refusal(lambda: tree.create(f"{group}/leaf", {"memory"}))
    assert (number, "move them into a child group first" in advice) == (errno.EBUSY, True)


def test_a_controller_nobody_has_is_named(tree, group):
    number, advice = refusal(lambda: tree.create(group, {"teleport"}))
    assert (number, "controller teleport is not available there" in advice) == (errno.ENOENT, True)


def test_a_domain_invalid_group_refuses_with_the_remedy(tree, group, sleeper):
    tree.create(f"{group}/threaded")
    tree.create(f"{group}/other")
    tree.write(f"{group}/threaded", "cgroup.type", "threaded")
    assert tree.read(f"{group}/other", "cgroup.type") == "domain invalid"
    number, advice = refusal(lambda: tree.join(f"{group}/other", sleeper().pid))
    assert (number, "threaded" in advice) == (errno.EOPNOTSUPP, True)


def test_a_frozen_target_takes_the_process_and_freezes_it(tree, group, sleeper):
    tree.create(group)
    tree.write(group, "cgroup.freeze", "1")
    pid = sleeper().pid
    tree.join(group, pid)
    assert groups_of(pid, "/proc") == {UNIFIED: group}
    tree.write(group, "cgroup.freeze", "0")


def test_the_limit_of_descendants_is_named(tree, group):
    tree.create(group)
    tree.write(group, "cgroup.max.descendants", "1")
    number, advice = refusal(lambda: tree.create(f"{group}/a/b"))
    assert (number, "cgroup.max.descendants" in advice) == (errno.EAGAIN, True)


def test_a_kernel_thread_is_refused(tree, group):
    tree.create(group)
    number, advice = refusal(lambda: tree.join(group, 2))
    assert number in (errno.EINVAL, errno.EACCES), os.strerror(number)
    assert "kernel thread" in advice


def test_a_group_of_the_same_name_is_joined_again_after_it_was_removed(tree, group, sleeper):
    pid = sleeper().pid
    for _ in range(2):
        tree.create(group)
        tree.join(group, pid)
        tree.join("/", pid)
        assert tree.remove(group)


def test_who_is_not_root_needs_the_groups_above_both(tree, group, sleeper):
    for name in ("a", "b"):
        tree.create(f"{group}/{name}")
        os.chown(tree.at(f"{group}/{name}"), NOBODY, NOBODY)
        os.chown(f"{tree.at(f'{group}/{name}')}/cgroup.procs", NOBODY, NOBODY)
    process = sleeper()
    tree.join(f"{group}/a", process.pid)
    number, advice = elsewhere(lambda: os.setuid(NOBODY), lambda: tree.join(f"{group}/b", process.pid))
    assert (number, "cgroup.procs of both groups and of what is above them" in advice) == (errno.EACCES, True)
    number, advice = elsewhere(lambda: os.setuid(NOBODY), lambda: tree.create(f"{group}/c"))
    assert (number, "a delegated directory" in advice) == (errno.EACCES, True)
    assert groups_of(process.pid, "/proc")[UNIFIED] == f"{group}/a"

    os.chown(f"{tree.at(group)}/cgroup.procs", NOBODY, NOBODY)  # as advised
    assert elsewhere(lambda: os.setuid(NOBODY), lambda: tree.join(f"{group}/b", process.pid)) is None
    assert groups_of(process.pid, "/proc")[UNIFIED] == f"{group}/b"


def test_who_is_in_a_delegated_cgroup_namespace_cannot_move_across_its_root(tree, group, sleeper):
    subprocess.run(["mount", "-o", "remount,nsdelegate", tree.at("/")], check=True)
    for name in ("inside", "outside"):
        tree.create(f"{group}/{name}")
    process = sleeper()
    tree.join(f"{group}/inside", process.pid)

    def enter():
        tree.join(f"{group}/inside", os.getpid())
        assert ctypes.CDLL(None).unshare(CLONE_NEWCGROUP) == 0

    number, advice = elsewhere(enter, lambda: tree.join(f"{group}/outside", process.pid))
    assert (number, "run in the host's cgroup namespace" in advice) == (errno.ENOENT, True)
    assert groups_of(process.pid, "/proc")[UNIFIED] == f"{group}/inside"
