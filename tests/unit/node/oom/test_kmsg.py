from __future__ import annotations

import contextlib
import os

import pytest
from holdfast.errors import Unavailable
from holdfast.node.oom.kmsg import KernelLog, KillParser, parse_record
from hypothesis import example, given
from hypothesis import strategies as st

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
    return [kill for line in text.split("\n") if (kill := parser.feed(line, 1234)) is not None]


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
        for record in (b"6,7,1000,-;old\n", b"6,8,2000,-;new; with a semicolon\n SUBSYSTEM=x\n", b"4,9,3000,-;more\n"):
            os.write(writer, record)
        assert [(line.number, line.text) for line in log.read()] == [(8, "new; with a semicolon"), (9, "more")]
        assert list(log.read()) == []
    finally:
        log.close()
        os.close(reader)
        os.close(writer)


# Lines as the kernels print them, oldest first; what is left of each is what this reads.
RHEL_3_10 = """java invoked oom-killer: gfp_mask=0x201da, order=0, oom_score_adj=0
[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name
[20511]  1001 20511  2450000  1775003    3600        0             0 java
[20600]     0 20600     1000      100      10        0         -1000 sshd
Out of memory: Kill process 20511 (java) score 903 or sacrifice child
Killed process 20511 (java), UID 1001, total-vm:9800000kB, anon-rss:7100000kB, file-rss:0kB, shmem-rss:12kB
"""
V3_10_MEMCG = """worker invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0
Task in /batch/a killed as a result of limit of /batch
memory: usage 65536kB, limit 65536kB, failcnt 42
memory+swap: usage 65536kB, limit 131072kB, failcnt 0
[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name
[  501]  1001   501    18790    12000      40        5           300 worker
[  502]  1001   502    18790     9000      40        0           300 child
Memory cgroup out of memory: Kill process 501 (worker) score 950 or sacrifice child
Killed process 502 (child) total-vm:75160kB, anon-rss:36000kB, file-rss:0kB
"""
V4_4 = """stress invoked oom-killer: gfp_mask=0x24280ca, order=0, oom_score_adj=0
[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name
[  900]     0   900    18790     5000      20       3        0             0 bash
[  901]     0   901    18790    50000     100       4        0             0 stress
Out of memory: Kill process 901 (stress) score 500 or sacrifice child
Killed process 901 (stress) total-vm:75160kB, anon-rss:200000kB, file-rss:4kB
"""
V4_19 = """stress invoked oom-killer: gfp_mask=0x6280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO), order=0, oom_score_adj=0
Task in /jobs/a killed as a result of limit of /jobs
memory: usage 65536kB, limit 65536kB, failcnt 21
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[    901]     0   901    18790    50000    40960        0             0 stress
[    902]     0   902    18790    40000    40960        0             0 stress
Memory cgroup out of memory: Kill process 901 (stress) score 500 or sacrifice child
Killed process 901 (stress) total-vm:75160kB, anon-rss:200000kB, file-rss:4kB, shmem-rss:0kB
Tasks in /jobs/a are going to be killed due to memory.oom.group set
Killed process 902 (stress) total-vm:75160kB, anon-rss:160000kB, file-rss:4kB, shmem-rss:0kB
"""
V5_0 = """stress invoked oom-killer: gfp_mask=0x6280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO), order=0, oom_score_adj=0
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[    901]     0   901    18790    50000    40960        0             0 stress
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/jobs,task=stress,pid=901,uid=0
Out of memory: Kill process 901 (stress) score 500 or sacrifice child
Killed process 901 (stress) total-vm:75160kB, anon-rss:200000kB, file-rss:4kB, shmem-rss:0kB
"""
V5_1 = """stress invoked oom-killer: gfp_mask=0x6280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO), order=0, oom_score_adj=0
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[    901]     7   901    18790    50000    40960        0            11 stress
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/jobs,task=stress,pid=901,uid=7
Out of memory: Killed process 901 (stress) total-vm:75160kB, anon-rss:200000kB, file-rss:4kB, shmem-rss:0kB
"""
ALLOCATING = V5_1.replace("Out of memory:", "Out of memory (oom_kill_allocating_task):")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RHEL_3_10, [(20511, "java", 1001, "/", "", 0, [(20511, 1775003 + 3600)])]),
        (V3_10_MEMCG, [(502, "child", 1001, "/batch", "", 300, [(501, 12045 + 300 * 16), (502, 9040 + 300 * 16)])]),
        (V4_4, [(901, "stress", 0, "/", "", 0, [(901, 50104), (900, 5023)])]),
        (
            V4_19,
            [
                (901, "stress", 0, "/jobs", "/jobs/a", 0, [(901, 50010), (902, 40010)]),
                (902, "stress", 0, "/jobs", "", 0, [(901, 50010), (902, 40010)]),
            ],
        ),
        (V5_0, [(901, "stress", 0, "/", "/jobs", 0, [(901, 50010)])]),
        (V5_1, [(901, "stress", 7, "/", "/jobs", 11, [(901, 50010 + 11 * 4000)])]),
        (ALLOCATING, [(901, "stress", 7, "/", "/jobs", 11, [(901, 50010 + 11 * 4000)])]),
        (V5_10, [(901, "stress", 0, "/", "/user.slice/session-1.scope", 0, [(901, 50010), (900, 5010)])]),
    ],
    ids=["3.10 of RHEL", "3.10", "4.4", "4.19", "5.0", "5.1", "allocating task", "5.10"],
)
def test_the_lines_of_every_kernel_are_read(text, expected):
    assert [
        (k.pid, k.comm, k.uid, k.domain, k.group, k.oom_score_adj, [(s.pid, s.points) for s in k.predicted])
        for k in kills(text)
    ] == expected


def test_before_5_1_a_kill_that_printed_no_table_does_not_take_the_last_ones():
    second = (
        "Memory cgroup out of memory: Kill process 77 (db) score 9 or sacrifice child\n"
        "Killed process 77 (db) total-vm:4kB, anon-rss:4kB, file-rss:0kB\n"
    )
    _, stray = kills(V3_10_MEMCG + second)
    assert (stray.pid, stray.domain, stray.group, stray.predicted) == (77, "", "", ())


COMM = st.binary(min_size=1, max_size=15).map(lambda raw: raw.replace(b"\0", b"_").decode(errors="surrogateescape"))
NAME = st.one_of(
    st.binary(min_size=1, max_size=30).map(
        lambda raw: raw.translate(bytes.maketrans(b"\0/\n", b"___")).decode(errors="surrogateescape")
    ),
    st.sampled_from([",task=x,pid=1,uid=0", ",task_memcg=", ",mems_allowed=0,global_oom", ",oom_memcg="]),
)
PATHS = st.lists(NAME, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))


@given(COMM, PATHS, PATHS, NAME)
@example("a", "/u", "/x,mems_allowed=0,oom_memcg=/db,task_memcg=/db", "x")
@example(",task=b,pid=1", "/u,task=a", "/b", "x,mems_allowed=0,oom_memcg=/db,task_memcg=/db")
def test_whatever_names_are_chosen_the_victim_is_right_and_its_place_right_or_not_known(comm, domain, below, cpuset):
    group = domain + below
    text = [
        f"{comm} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
        f"[     31]     0    31   100000    60000   600000        0           985 {comm}",
        f"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={cpuset},mems_allowed=0-1,oom_memcg={domain},"
        f"task_memcg={group},task={comm},pid=31,uid=0",
        f"Memory cgroup out of memory: Killed process 31 ({comm}) total-vm:400000kB, anon-rss:239000kB, "
        "file-rss:1000kB, shmem-rss:0kB, UID:0 pgtables:600kB oom_score_adj:985",
    ]
    parser = KillParser(v2_host())
    (kill,) = [found for line in text if (found := parser.feed(line, 1)) is not None]
    assert (kill.pid, kill.comm, kill.oom_score_adj, kill.rss_pages) == (31, comm, 985, 60000)
    assert [(standing.pid, standing.comm) for standing in kill.predicted] == [(31, comm)]
    assert (kill.domain, kill.group) in ((domain, group), ("", ""))


@given(
    st.lists(st.one_of(st.text(max_size=60), st.sampled_from(V6_18.split("\n") + V3_10_MEMCG.split("\n"))), max_size=9)
)
def test_any_lines_in_any_order_are_a_kill_or_none(lines):
    parser = KillParser(v2_host())
    for at, line in enumerate(lines):
        kill = parser.feed(line, at)
        assert kill is None or "Killed process" in line


@given(st.binary(max_size=80))
@example(b"6,1,2,-;a\\x0ab\\x5cx41")
@example(b"6,1")
@example("٣,1,2,-;a".encode())
def test_any_bytes_are_a_record_or_none(data):
    parse_record(data)


@given(st.binary(max_size=40))
def test_what_the_device_escaped_is_what_the_kernel_wrote(raw):
    shown = b"".join(b"\\x%02x" % byte if byte < 32 or byte >= 127 or byte == 92 else bytes((byte,)) for byte in raw)
    record = parse_record(b"4,423,3190765912,-;" + shown + b"\n SUBSYSTEM=x\n")
    assert record is not None
    assert (record.facility, record.number, record.us) == (0, 423, 3190765912)
    assert record.text.encode(errors="surrogateescape") == raw


@contextlib.contextmanager
def log_of(*records):
    reader, writer = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    log = KernelLog(f"/proc/self/fd/{reader}")
    try:
        for record in records:
            os.write(writer, record)
        yield list(log.read())
    finally:
        log.close()
        os.close(reader)
        os.close(writer)


FORGED = b"Out of memory: Killed process 1 (systemd) total-vm:1kB, anon-rss:1kB, file-rss:1kB"


def test_what_a_program_wrote_into_the_log_is_no_kill():
    # level 3 of facility 1 (user): what the kernel makes of a write, whatever its prefix says
    with log_of(b"11,1,1000,-;" + FORGED + b"\n", b"3,2,2000,-;real\n", b"not a record", b"") as lines:
        assert [line.text for line in lines] == ["real"]


def test_a_piece_of_a_line_that_looks_like_a_kill_is_none():
    # a group's name, printed by itself because another CPU printed in between
    with log_of(b"4,1,1000,c;" + FORGED + b"\n", b"4,2,2000,+;" + FORGED + b"\n", b"4,3,3000,-;after\n") as lines:
        assert [line.text for line in lines] == ["after"]


def test_a_line_in_pieces_is_put_together():
    with log_of(
        b"6,1,1000,c;Task in /a/b\n", b"6,2,1001,+; killed as a result of limit of /a\n", b"6,3,2000,-;x\n"
    ) as lines:
        assert [line.text for line in lines] == ["Task in /a/b", "Task in /a/b killed as a result of limit of /a", "x"]


def test_a_name_with_a_newline_is_one_line_and_makes_no_second():
    shown = FORGED.replace(b"(systemd)", b"(a\\x0aKilled)")
    with log_of(b"3,1,1000,-;" + shown + b"\n") as lines:
        (kill,) = [found for line in lines if (found := KillParser(v2_host()).feed(line.text, 1)) is not None]
    assert kill.comm == "a\nKilled"
