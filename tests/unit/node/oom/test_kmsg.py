import os

import pytest
from holdfast.errors import Unavailable
from holdfast.node.oom.kmsg import KernelLog, KillParser

from tests.fakes.placement import v2_host

V6_18 = """python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
memory: usage 65536kB, limit 65536kB, failcnt 21
swap: usage 0kB, limit 9007199254740988kB, failcnt 0
Memory cgroup stats for /jobs:
Tasks state (memory values in pages):
[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name
[  24351]     0 24351    18790    10000     8365     1635         0    40960        0             0 python3
[  24352]  1000 24352    18790     9000     8365      635         0    40960        0           900 foo) Z 1
[  24353]     0 24353    18790    16000     8365      635         0    40960        0         -1000 never
oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/jobs,task_memcg=/jobs/a,task=foo) Z 1,pid=24352,uid=1000
Memory cgroup out of memory: Killed process 24352 (foo) Z 1) total-vm:75160kB, anon-rss:33460kB, file-rss:2540kB, shmem-rss:0kB, UID:1000 pgtables:40kB oom_score_adj:900
"""  # noqa: E501
V5_10 = """stress invoked oom-killer: gfp_mask=0x100cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0
Tasks state (memory values in pages):
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[    900]     0   900    18790     5000    40960        0             0 bash
[    901]     0   901    18790    50000    40960        0             0 stress
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/user.slice/session-1.scope,task=stress,pid=901,uid=0
Out of memory: Killed process 901 (stress) total-vm:75160kB, anon-rss:200000kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:40kB oom_score_adj:0
"""  # noqa: E501


def kills(text):
    parser = KillParser(v2_host())
    return [kill for line in text.splitlines() if (kill := parser.feed(line, 1234)) is not None]


def test_a_kill_in_a_cgroup_names_domain_group_and_victim():
    (kill,) = kills(V6_18)
    assert (kill.pid, kill.comm, kill.uid, kill.oom_score_adj) == (24352, "foo) Z 1", 1000, 900)
    assert (kill.domain, kill.group, kill.rss_pages, kill.at_ns) == ("/jobs", "/jobs/a", 9000, 1234)


def test_who_stood_next_in_line_is_the_kernels_own_table_by_its_own_arithmetic():
    (kill,) = kills(V6_18)
    limit_pages = 65536 // 4
    assert [(s.pid, s.comm, s.points) for s in kill.predicted] == [
        (24352, "foo) Z 1", 9000 + 10 + 900 * (limit_pages // 1000)),
        (24351, "python3", 10010),
    ]
    assert kill.looked_at_ns == 1234


def test_a_kill_of_the_node_and_an_older_kernels_table():
    (kill,) = kills(V5_10)
    assert (kill.domain, kill.group, kill.pid) == ("/", "/user.slice/session-1.scope", 901)
    assert [s.pid for s in kill.predicted] == [901, 900]


def test_a_whole_group_dies_out_of_one_domain():
    text = V6_18 + (
        "Tasks in /jobs/a are going to be killed due to memory.oom.group set\n"
        "Memory cgroup out of memory: Killed process 24351 (python3) total-vm:1kB, anon-rss:4kB, file-rss:0kB, "
        "shmem-rss:0kB, UID:0 pgtables:40kB oom_score_adj:0\n"
    )
    first, second = kills(text)
    assert (second.pid, second.domain, second.group) == (24351, "/jobs", "")
    assert first.pid == 24352


def test_a_group_kill_names_its_first_victim_twice_and_it_died_once():
    first = V6_18.splitlines()[-1]
    text = V6_18 + (
        "Tasks in /jobs/a are going to be killed due to memory.oom.group set\n"
        f"{first}\n{first.replace('24352', '24351')}\n"
    )
    assert [kill.pid for kill in kills(text)] == [24352, 24351]
    parser = KillParser(v2_host())
    a_second = 1_000_000_000
    told = [parser.feed(first, at) for at in (a_second, a_second + 5, 3 * a_second)]
    assert [kill is not None for kill in told] == [True, False, True], "later it is another process's number"


def test_a_kill_without_its_own_table_does_not_take_somebody_elses():
    stray = V6_18.splitlines()[-1].replace("24352", "99")
    _, second = kills(f"{V6_18}\n{stray}")
    assert (second.pid, second.domain, second.group, second.predicted) == (99, "", "", ())


@pytest.mark.parametrize(
    "noise",
    ["", "[  12]", "[  12] x y z", "oom-kill:", "Out of memory: Killed process", "memory: usage", "\0\xff", "[ pid ]"],
)
def test_lines_that_only_look_alike_are_passed_over(noise):
    text = V6_18.replace("[  24351]", f"{noise}\n[  24351]", 1)
    assert len(kills(text)) == 1
    assert kills(noise) == []


def test_a_log_that_cannot_be_read_says_what_it_needs(tmp_path):
    with pytest.raises(Unavailable, match=r"kmsg: no such file or directory; privileged in the pod, --device"):
        KernelLog(str(tmp_path / "kmsg"))


def test_records_are_read_once_with_number_and_text(tmp_path):
    # a pipe in packet mode hands out one record per read, as the device does
    reader, writer = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    log = KernelLog(f"/proc/self/fd/{reader}", after=7)
    try:
        for record in (b"6,7,1000,-;old\n", b"6,8,2000,-;new; with a semicolon\n SUBSYSTEM=x\n", b"4,9,3000,c;more\n"):
            os.write(writer, record)
        assert [(line.number, line.text) for line in log.read()] == [(8, "new; with a semicolon"), (9, "more")]
        assert list(log.read()) == []
    finally:
        log.close()
        os.close(reader)
        os.close(writer)
