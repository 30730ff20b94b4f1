import os

import pytest
from holdfast.cgroups import groups_of, is_member, parse_groups
from holdfast.errors import ProcessGone


def test_every_hierarchy_is_named_as_the_kernel_names_it():
    text = b"12:cpu,cpuacct:/kubepods/burstable\n1:name=systemd:/init.scope\n0::/system.slice/ssh.service\n"
    assert parse_groups(text) == {
        "cpu,cpuacct": "/kubepods/burstable",
        "name=systemd": "/init.scope",
        "": "/system.slice/ssh.service",
    }


def test_a_path_may_hold_colons_and_bytes_that_are_no_text():
    groups = parse_groups(b"4:memory:/cri:\xff:deadbeef (deleted)\n")
    assert os.fsencode(groups["memory"]) == b"/cri:\xff:deadbeef (deleted)"


def test_equal_paths_are_one_object():
    first, second = (parse_groups(b"4:memory:/kubepods/besteffort/pod%d\n" % 7) for _ in range(2))
    assert first["memory"] is second["memory"]


def test_our_own_groups_are_read_from_proc():
    with open("/proc/self/cgroup", "rb") as file:
        assert groups_of("self", "/proc") == parse_groups(file.read())


def test_a_process_that_is_not_there_is_gone(tmp_path):
    with pytest.raises(ProcessGone):
        groups_of(1, str(tmp_path))


@pytest.mark.parametrize(
    ("text", "is_in"),
    [
        (b"4:pids:/a\n0::/b\n", True),
        (b"0::/b\n4:pids:/a\n", True),
        (b"4:pids:/a/b\n", False),
        (b"4:pids:/\n", False),
        (b"1:name=systemd:/x4:pids:/a\n4:pids:/b\n", False),  # what a delegated group's owner may call it
        (b"1:name=systemd:/x:pids:/a\n4:pids:/a\n", True),
        (b"4:cpu,pids:/a\n", False),
        (b"", False),
    ],
)
def test_whether_a_process_is_in_a_group_is_told_as_by_parsing(text, is_in):
    assert is_member(text, "pids", "/a") is is_in
    assert (parse_groups(text).get("pids") == "/a") is is_in


def test_the_unified_hierarchy_has_no_name():
    assert is_member(b"4:pids:/a\n0::/b\n", "", "/b")
    assert not is_member(b"4:pids:/b\n0::/a\n", "", "/b")
