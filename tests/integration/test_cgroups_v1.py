import errno
import os
import subprocess
import sys

import pytest
from holdfast.cgroups import UNIFIED, Mode, groups_of
from holdfast.errors import KernelRefused, NotFound, ProcessGone

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def v1(hierarchy):
    if hierarchy.mode not in (Mode.LEGACY, Mode.HYBRID) or not hierarchy.writable:
        pytest.skip("needs cgroup v1 hierarchies that can be written")


def test_what_proc_names_is_what_was_detected(hierarchy):
    assert set(groups_of("self", "/proc")) == set(hierarchy.names)


def test_a_group_is_created_joined_and_read_back_in_every_v1_hierarchy(hierarchy, group, sleeper):
    pid = sleeper().pid
    hierarchy.create(f"{group}/inner", hierarchy.v1_names)
    hierarchy.join(f"{group}/inner", pid, hierarchy.v1_names)
    where = groups_of(pid, "/proc")
    assert {where[name] for name in hierarchy.v1_names} == {f"{group}/inner"}
    assert where.get(UNIFIED, "/") == "/"
    for name in hierarchy.v1_names:
        assert hierarchy.tree(name).members(f"{group}/inner") == (pid,)


def test_a_new_cpuset_group_takes_processes_because_it_has_what_its_parent_has(hierarchy, group, sleeper):
    tree = hierarchy.tree(hierarchy.name_of("cpuset"))
    tree.create(f"{group}/a/b")
    assert tree.read(f"{group}/a/b", "cpuset.cpus") == tree.read("/", "cpuset.cpus") != ""
    tree.join(f"{group}/a/b", sleeper().pid)


def test_a_cpuset_group_somebody_left_empty_refuses_with_the_remedy(hierarchy, group, sleeper):
    tree = hierarchy.tree(hierarchy.name_of("cpuset"))
    os.mkdir(tree.at(group))
    with pytest.raises(KernelRefused) as caught:
        tree.join(group, sleeper().pid)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.advice == (
        f"write {tree.at(group)}/cgroup.procs: no space left on device;"
        " its cpuset.cpus or cpuset.mems is empty; set both first"
    )


def test_a_setting_is_written_and_read_back_as_the_kernel_rounded_it(hierarchy, group):
    tree = hierarchy.tree(hierarchy.name_of("memory"))
    tree.create(group)
    assert tree.write(group, "memory.limit_in_bytes", str(64 * 2**20 + 1)) == str(64 * 2**20)
    assert tree.read(group, "memory.limit_in_bytes") == str(64 * 2**20)


def test_garbage_and_a_missing_file_are_refused_in_one_line(hierarchy, group):
    tree = hierarchy.tree(hierarchy.name_of("memory"))
    tree.create(group)
    with pytest.raises(KernelRefused, match=r"memory\.limit_in_bytes: invalid argument$"):
        tree.write(group, "memory.limit_in_bytes", "much")
    with pytest.raises(KernelRefused, match=r"memory\.max: "):
        tree.write(group, "memory.max", "1")


def test_a_group_that_came_back_is_joined_through_a_new_descriptor(hierarchy, group, sleeper):
    tree = hierarchy.tree(hierarchy.name_of("pids"))
    tree.create(group)
    pid = sleeper().pid
    tree.join(group, pid)
    tree.join("/", pid)
    assert tree.remove(group)
    tree.create(group)
    tree.join(group, pid)
    assert tree.members(group) == (pid,)


def test_a_removed_group_is_refused_and_not_made_again(hierarchy, group, sleeper):
    tree = hierarchy.tree(hierarchy.name_of("pids"))
    tree.create(group)
    pid = sleeper().pid
    tree.join(group, pid)
    tree.join("/", pid)
    assert tree.remove(group)
    with pytest.raises(KernelRefused, match=r"cgroup\.procs: no such file or directory$"):
        tree.join(group, pid)


def test_a_populated_group_is_not_removed(hierarchy, group, sleeper):
    tree = hierarchy.tree(hierarchy.name_of("pids"))
    tree.create(group)
    tree.join(group, sleeper().pid)
    assert not tree.remove(group)
    assert tree.exists(group)


def test_nobody_is_moved_by_a_number_nobody_has(hierarchy, group):
    hierarchy.create(group, ("pids",))
    with pytest.raises(ProcessGone):
        hierarchy.join(group, 2**22 + 1, ("pids",))


def test_a_real_time_process_is_refused_by_a_cpu_group_without_runtime(hierarchy, group, sleeper):
    tree = hierarchy.tree(hierarchy.name_of("cpu"))
    tree.create(group)
    if not os.path.exists(f"{tree.at(group)}/cpu.rt_runtime_us"):
        pytest.skip("this kernel does not account real-time time by group")
    pid = sleeper().pid
    os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    with pytest.raises(KernelRefused) as caught:
        tree.join(group, pid)
    assert (caught.value.errno, "cpu.rt_runtime_us" in caught.value.advice) == (errno.EINVAL, True)


def test_many_groups_do_not_keep_many_descriptors(hierarchy, group, sleeper):
    tree = hierarchy.tree(hierarchy.name_of("pids"))
    pid = sleeper().pid
    before = len(os.listdir("/proc/self/fd"))
    for number in range(80):
        tree.create(f"{group}/{number}")
        tree.join(f"{group}/{number}", pid)
    assert len(os.listdir("/proc/self/fd")) - before <= 1  # the mount


def test_a_hierarchy_that_is_not_mounted_is_named(hierarchy, group):
    with pytest.raises(NotFound, match="hierarchy 'nothing'"):
        hierarchy.create(group, ("nothing",))


APPLY = """
import logging, sys
from holdfast import log
from holdfast.errors import BootError
from holdfast.server.self_limits import apply_to_self
log.set_up("debug", stream=sys.stdout)
try:
    apply_to_self(int(sys.argv[1]), sys.argv[2], proc_root="/proc", cgroup_root="/sys/fs/cgroup")
except BootError as error:
    sys.exit(f"holdfast: {error}")
print(open("/proc/self/oom_score_adj").read().strip())
print(open("/proc/self/cgroup").read())
"""


def applied(score, cgroup, *, before=()):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [*before, sys.executable, "-c", APPLY, str(score), cgroup]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("spelled", ["{}", "{}/a/b"])
def test_apply_makes_the_group_everywhere_and_joins_but_not_in_the_unified_tree(hierarchy, group, spelled):
    path = spelled.format(group)
    run = applied(0, path.lstrip("/"))
    assert (run.returncode, run.stderr) == (0, "")
    for name in hierarchy.v1_names:
        assert f":{name}:{path}\n" in run.stdout
        assert hierarchy.tree(name).exists(path), "the group stays behind, as containerd's does"
    if UNIFIED in hierarchy.names:
        assert not hierarchy.tree(UNIFIED).exists(path)


def test_apply_joins_only_where_the_group_exists(hierarchy, group):
    hierarchy.create(group, ("pids",))
    run = applied(0, group)
    assert run.returncode == 0
    assert f":pids:{group}\n" in run.stdout
    assert f":memory:{group}\n" not in run.stdout
    assert hierarchy.where(group) == ("pids",)


def test_apply_raises_the_score_and_reads_it_back(group):
    run = applied(321, "")
    assert run.stdout.splitlines()[1:2] == ["321"]
    assert 'msg="changing OOM score to 321"' in run.stdout


def test_apply_as_nobody_in_a_cgroup_ends_the_boot_with_containerds_line(hierarchy, group):
    run = applied(-300, group, before=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert run.returncode == 1
    first = hierarchy.tree(hierarchy.v1_names[0]).at(group)
    assert run.stderr == f"holdfast: mkdir {first}: permission denied; root, or a delegated directory, is needed\n"
    assert "level=error" not in run.stdout


def test_apply_lowers_or_says_why_not_and_goes_on(group):
    run = applied(-500, "")
    assert run.returncode == 0
    granted = "-500\n" in run.stdout
    refused = 'error="write /proc/' in run.stdout and 'oom_score_adj: permission denied"' in run.stdout
    assert granted != refused
