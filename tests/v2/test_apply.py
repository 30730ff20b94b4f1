from holdfast.cgroups import UNIFIED

from tests.integration.test_cgroups_v1 import applied


def test_a_lowered_score_is_read_back_from_proc():
    run = applied(-999, "")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[1] == "-999"
    assert "level=error" not in run.stdout


def test_the_cgroup_is_created_with_controllers_down_the_path_and_joined(hierarchy, group):
    run = applied(-1000, f"{group}/daemon")
    assert (run.returncode, run.stderr) == (0, "")
    assert f"0::{group}/daemon\n" in run.stdout
    tree = hierarchy.tree(UNIFIED)
    assert {"cpu", "io", "memory", "pids"} <= set(tree.read(group, "cgroup.subtree_control").split())
    assert tree.read(f"{group}/daemon", "memory.current").isdigit()


def test_a_group_that_exists_is_joined_as_it_is(hierarchy, group):
    tree = hierarchy.tree(UNIFIED)
    tree.create(group)
    run = applied(0, group)
    assert f"0::{group}\n" in run.stdout
    assert tree.read(group, "cgroup.subtree_control") == ""


def test_a_group_that_takes_no_processes_ends_the_boot_in_one_line(hierarchy, group):
    tree = hierarchy.tree(UNIFIED)
    tree.create(f"{group}/leaf", {"memory"})
    run = applied(0, group)
    assert run.returncode == 1
    assert run.stderr.startswith(f"holdfast: write {tree.at(group)}/cgroup.procs: device or resource busy; ")
    assert run.stderr.count("\n") == 1
