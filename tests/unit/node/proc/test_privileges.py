import os

import pytest
from holdfast.node.proc.privileges import read_vantage
from holdfast.pods import cgroup_path

POD = "/kubepods/burstable/pod11111111-2222-3333-4444-555555555555/" + "ab" * 32


@pytest.fixture
def proc(tmp_path):
    """A /proc of our own making: what is written into it, and the vantage read from it."""
    (tmp_path / "1").mkdir()
    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "pid").symlink_to("pid:[4026531836]")
    (tmp_path / "self" / "uid_map").write_text("         0          0 4294967295\n")
    (tmp_path / "self" / "status").write_text("CapEff:\t000001ffffffffff\n")
    (tmp_path / "1" / "comm").write_text("systemd\n")
    (tmp_path / "1" / "cgroup").write_text("0::/init.scope\n")
    return tmp_path


def look(proc):
    return read_vantage(str(proc), cgroup_path, without_cgroups="", cgroups_writable=True)


def test_a_host_is_read_as_one(proc):
    seen = look(proc)
    assert (seen.initial_pids, seen.initial_users, seen.init_comm, seen.init_in_pod) == (True, True, "systemd", False)
    assert (seen.own_pid, seen.hidepid) == (os.getpid(), "")
    assert "CAP_SYS_RESOURCE" in seen.capabilities


def test_a_container_s_namespaces_are_told_by_their_numbers_and_maps(proc):
    (proc / "self" / "ns" / "pid").unlink()
    (proc / "self" / "ns" / "pid").symlink_to("pid:[4026532201]")
    (proc / "self" / "uid_map").write_text("0 100000 65536\n")
    (proc / "1" / "comm").write_text("pause\n")
    (proc / "1" / "cgroup").write_text(f"0::{POD}\n")
    seen = look(proc)
    assert (seen.initial_pids, seen.initial_users, seen.init_comm, seen.init_in_pod) == (False, False, "pause", True)
    assert seen.capabilities == frozenset()


def test_the_last_proc_mounted_there_says_who_is_hidden(proc):
    (proc / "self" / "mountinfo").write_text(
        f"22 1 0:21 / {proc} rw - proc proc rw\n"
        f"60 22 0:48 / {proc} rw,nosuid shared:3 - proc proc rw,gid=27,hidepid=invisible\n"
        "61 22 0:49 / /elsewhere rw - proc proc rw,hidepid=ptraceable\n"
    )
    assert (look(proc).hidepid, look(proc).hidepid_gid) == ("invisible", 27)


def test_what_cannot_be_read_counts_as_a_host(tmp_path):
    seen = look(tmp_path)
    assert (seen.initial_pids, seen.initial_users, seen.init_in_pod, seen.hidepid) == (True, True, False, "")
