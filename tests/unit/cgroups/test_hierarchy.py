import os

import pytest
from holdfast.cgroups import UNIFIED, Foreign, Mode, detect, is_below_the_mount, why_not_the_hosts
from holdfast.cgroups.hierarchy import mounts
from holdfast.errors import KernelRefused, NotFound

V1 = "rw,relatime shared:9 - cgroup cgroup rw,"


def tree(tmp_path, *lines):
    """A proc root whose mountinfo has these lines; ``@`` is the cgroup root."""
    (tmp_path / "proc/thread-self").mkdir(parents=True)
    text = "22 28 0:21 / /proc rw - proc proc rw\n" + "".join(
        f"3{n} 31 0:3{n} {line}\n" for n, line in enumerate(lines)
    )
    (tmp_path / "proc/thread-self/mountinfo").write_text(text.replace("@", str(tmp_path / "cg")))
    return str(tmp_path / "proc"), str(tmp_path / "cg")


def hybrid(tmp_path):
    for name in ("cpu", "memory", "systemd", "unified"):
        (tmp_path / "cg" / name).mkdir(parents=True)
    (tmp_path / "cg/unified/cgroup.controllers").write_text("\n")
    return tree(
        tmp_path,
        "/ @/unified rw,relatime - cgroup2 cgroup2 rw",
        f"/ @/cpu {V1}cpu,cpuacct",
        f"/ @/memory {V1}memory",
        f"/ @/systemd {V1}xattr,name=systemd",
    )


def test_a_hybrid_host_has_v1s_trees_first_by_their_proc_names(tmp_path):
    hierarchy = detect(*hybrid(tmp_path))
    assert hierarchy.names == ("cpu,cpuacct", "memory", "name=systemd", UNIFIED)
    assert hierarchy.v1_names == ("cpu,cpuacct", "memory", "name=systemd")
    assert hierarchy.mode is Mode.HYBRID
    assert hierarchy.writable


def test_a_controller_is_found_in_its_tree(tmp_path):
    hierarchy = detect(*hybrid(tmp_path))
    assert hierarchy.name_of("cpuacct") == "cpu,cpuacct"
    assert hierarchy.tree("name=systemd").controllers() == frozenset()
    with pytest.raises(NotFound, match="cgroup controller 'rdma'"):
        hierarchy.name_of("rdma")


def test_a_pure_v2_host_is_unified_and_without_v1_legacy(tmp_path):
    (tmp_path / "cg").mkdir()
    roots = tree(tmp_path, "/ @ rw,nosuid - cgroup2 cgroup2 rw,nsdelegate")
    assert detect(*roots).mode is Mode.UNIFIED
    (tmp_path / "proc/thread-self/mountinfo").write_text(f"30 1 0:30 / {tmp_path}/cg/memory {V1}memory\n")
    assert detect(*roots).mode is Mode.LEGACY


def test_nothing_mounted_is_an_answer_and_not_writable(tmp_path):
    hierarchy = detect(*tree(tmp_path))
    assert (hierarchy.mode, hierarchy.writable, hierarchy.names) == (Mode.NONE, False, ())


@pytest.mark.parametrize(("root", "below"), [("/../..", True), ("/..", True), ("/", False), ("/kubepods/pod1", False)])
def test_a_namespace_below_the_mounted_tree_is_told_from_any_other(tmp_path, root, below):
    assert is_below_the_mount(*tree(tmp_path, f"{root} @ rw - cgroup2 cgroup2 rw")) is below


@pytest.mark.parametrize(
    ("root", "init", "why"),
    [
        ("/", "/init.scope", None),
        ("/", "/../../init.scope", Foreign.BRANCH),
        ("/kubepods/pod1", "/init.scope", Foreign.BRANCH),
        ("/../..", "/../../init.scope", Foreign.NAMESPACE),
    ],
    ids=["host", "own namespace, own branch", "own branch", "own namespace, whole tree"],
)
def test_the_host_s_tree_is_told_from_a_container_s(tmp_path, root, init, why):
    proc, cgroups = tree(tmp_path, f"{root} @ rw - cgroup2 cgroup2 rw")
    (tmp_path / "proc/1").mkdir()
    (tmp_path / "proc/1/cgroup").write_text(f"0::{init}\n")
    assert why_not_the_hosts(proc, cgroups) is why


def test_no_mount_is_not_the_host_s_tree(tmp_path):
    assert why_not_the_hosts(*tree(tmp_path)) is Foreign.UNMOUNTED


def test_mounts_outside_the_root_are_somebody_elses(tmp_path):
    (tmp_path / "cg").mkdir()
    hierarchy = detect(*tree(tmp_path, "/ @-other/memory " + V1 + "memory", "/ /elsewhere " + V1 + "pids"))
    assert hierarchy.names == ()


def test_of_two_mounts_the_one_that_shows_the_whole_tree_counts(tmp_path):
    roots = tree(tmp_path, f"/kubepods @/inner {V1}memory", f"/ @/whole {V1}memory")
    assert detect(*roots).tree("memory").mount == f"{tmp_path}/cg/whole"


def test_a_read_only_mount_cannot_be_written(tmp_path):
    (tmp_path / "cg").mkdir()
    assert not detect(*tree(tmp_path, "/ @ ro,nosuid - cgroup2 cgroup2 rw")).writable


def test_octal_escapes_of_a_mount_point_are_undone():
    (mount,) = mounts([b"31 30 0:30 / /mnt/with\\040space rw - cgroup2 cgroup2 rw"], "/mnt")
    assert mount.point == "/mnt/with space"


def test_a_thousand_mounts_of_a_user_with_long_names_keep_nothing_from_being_found(tmp_path):
    (tmp_path / "cg").mkdir()
    proc, cgroup = tree(tmp_path, "/ @ rw - cgroup2 cgroup2 rw")
    with open(f"{proc}/thread-self/mountinfo", "ab") as file:
        for number in range(1000):
            file.write(b"%d 1 0:9 / /home/u/%s rw,nosuid - fuse.x x rw\n" % (1000 + number, b"x" * 3900))
    assert detect(proc, cgroup).trees


def test_an_unreadable_mountinfo_is_said(tmp_path):
    with pytest.raises(KernelRefused, match="thread-self/mountinfo: no such file"):
        detect(str(tmp_path), "/sys/fs/cgroup")


def test_an_unknown_hierarchy_names_those_that_are_mounted(tmp_path):
    with pytest.raises(NotFound, match=r"'pids' .mounted: 'cpu,cpuacct', 'memory', 'name=systemd', ''"):
        detect(*hybrid(tmp_path)).tree("pids")


def test_create_makes_every_level_in_every_chosen_tree_and_says_what_it_made(tmp_path):
    hierarchy = detect(*hybrid(tmp_path))
    os.mkdir(tmp_path / "cg/memory/a")
    assert hierarchy.create("a/b", ("memory", "name=systemd")) == (
        ("memory", "/a/b"),
        ("name=systemd", "/a"),
        ("name=systemd", "/a/b"),
    )
    assert hierarchy.where("/a/b") == ("memory", "name=systemd")
    assert hierarchy.tree("memory").children("/a") == ("/a/b",)


def test_remove_leaves_what_is_not_empty_and_counts_what_is_gone(tmp_path):
    hierarchy = detect(*hybrid(tmp_path))
    hierarchy.create("/a/b", ("memory",))
    memory = hierarchy.tree("memory")
    assert [memory.remove("/a"), memory.remove("/a/b"), memory.remove("/a"), memory.remove("/a")] == [
        False,
        True,
        True,
        True,
    ]


def v2(tmp_path, enabled="", available="cpu memory"):
    (tmp_path / "cg/a").mkdir(parents=True)
    for group in ("cg", "cg/a"):
        (tmp_path / group / "cgroup.controllers").write_text(available)
        (tmp_path / group / "cgroup.subtree_control").write_text(enabled)
    return detect(*tree(tmp_path, "/ @ rw - cgroup2 cgroup2 rw"))


def test_v2_enables_missing_controllers_down_the_path_but_not_in_the_group(tmp_path):
    v2(tmp_path).create("/a/b", controllers={"memory"})
    assert (tmp_path / "cg/cgroup.subtree_control").read_text() == "+memory"
    assert (tmp_path / "cg/a/cgroup.subtree_control").read_text() == "+memory"
    assert list((tmp_path / "cg/a/b").iterdir()) == []


def test_v2_leaves_enabled_controllers_alone(tmp_path):
    v2(tmp_path, enabled="cpu memory").create("/a/b", controllers={"memory", "cpu"})
    assert (tmp_path / "cg/cgroup.subtree_control").read_text() == "cpu memory"


def test_v2_names_the_controller_that_is_not_available(tmp_path):
    with pytest.raises(KernelRefused) as caught:
        v2(tmp_path, available="cpu").create("/a/b", controllers={"memory"})
    assert caught.value.path == f"{tmp_path}/cg/cgroup.subtree_control"
    assert "controller memory is not available there" in caught.value.advice
    assert not (tmp_path / "cg/a/b").exists()
