import os

import pytest
from holdfast.cgroups import groups_of, parse_groups
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
