import os
import shutil
import subprocess
import sys

import pytest
from holdfast.errors import ProcessGone
from holdfast.node.model.process import Held, Lineage, Wants
from holdfast.node.proc.parse import parse_stat, parse_status
from holdfast.node.proc.reader import EVERYTHING, IgnoredNames, ProcReader
from holdfast.process import ProcRoot

STAT = b"%d (%s) S %d 1 1 0 -1 %d 1 0 0 0 7 8 0 0 20 0 %d 0 %d 9999 %d 18446744073709551615 1 1 0\n"
STATUS = (
    b"Name:\tx\nUid:\t1000\t33\t0\t0\nVmRSS:\t    5104 kB\nVmPTE:\t      56 kB\nVmSwap:\t       8 kB\nThreads:\t1\n"
)


def nobody(_pid, _ticks):
    return None


@pytest.fixture
def put(tmp_path):
    """Puts processes into a proc file system of plain files."""

    def put(pid, comm=b"postgres", ppid=1, ticks=77):
        at = tmp_path / str(pid)
        at.mkdir(exist_ok=True)
        (at / "stat").write_bytes(STAT % (pid, comm, ppid, 0, 3, ticks, 1276))
        (at / "status").write_bytes(STATUS)
        (at / "cgroup").write_bytes(b"0::/a\n")
        (at / "cmdline").write_bytes(b"a\0b c\0")
        (at / "oom_score_adj").write_bytes(b"-5\n")
        if not (at / "exe").is_symlink():
            (at / "exe").symlink_to("/usr/bin/postgres (deleted)")

    return put


@pytest.fixture
def reader(tmp_path):
    with ProcRoot(str(tmp_path)) as proc:
        yield ProcReader(proc)


@pytest.mark.parametrize("comm", [b"foo) Z", b"(", b")", b"a b", b"\xff\xfe", b") S 1 1 1", b"two\nlines"])
def test_a_name_that_looks_like_fields_moves_no_field(comm):
    stat_line = parse_stat(7, STAT % (7, comm, 42, 0x00200000, 5, 4711, 1276))
    assert (stat_line.ppid, stat_line.start_ticks, stat_line.kernel_thread, stat_line.rss_pages, stat_line.threads) == (
        42,
        4711,
        True,
        1276,
        5,
    )
    assert stat_line.comm == comm.decode(errors="surrogateescape")


def test_status_gives_real_effective_and_saved_uid_and_pages():
    assert parse_status(STATUS) == ((1000, 33, 0), 1276, 2, 14)


def test_a_zombie_has_a_status_without_sizes():
    assert parse_status(b"Name:\tx\nUid:\t1\t2\t3\t4\n") == ((1, 2, 3), 0, 0, 0)


def test_everything_about_a_process(put, reader):
    put(5)
    facts = reader.facts(reader.stat_line(5), EVERYTHING, Held(0, -5, "r"))
    assert (facts.comm, facts.exe, facts.cmdline, facts.uid) == ("postgres", "/usr/bin/postgres", ("a", "b c"), 33)
    assert (facts.oom_score_adj, dict(facts.cgroups), facts.held) == (-5, {"": "/a"}, Held(0, -5, "r"))
    assert (facts.rss_pages, facts.swap_pages, facts.page_table_pages) == (1276, 2, 14)


def test_what_is_not_wanted_is_not_read(put, reader, tmp_path):
    put(5)
    for name in ("exe", "cmdline", "status"):
        (tmp_path / "5" / name).unlink()
    facts = reader.facts(reader.stat_line(5), Wants(exe=False, cmdline=False, status=False))
    assert (facts.exe, facts.cmdline, facts.rss_pages) == ("", (), 1276)


@pytest.fixture
def headless(put, tmp_path):
    """A process whose first thread has ended: 5. Its thread 6 ended, too (a debugger keeps it), and 7 lives."""
    put(5)
    at = tmp_path / "5"
    (at / "exe").unlink()
    (at / "cmdline").write_bytes(b"")
    (at / "cgroup").write_bytes(b"0::/stale\n")
    (at / "status").write_bytes(b"Name:\tx\nUid:\t1000\t33\t0\t0\n")
    (at / "stat").write_bytes((STAT % (5, b"postgres", 1, 0, 3, 77, 0)).replace(b") S", b") Z"))
    (at / "task").mkdir()
    for thread, state in ((6, b"Z"), (7, b"S")):
        put(thread)
        text = (STAT % (thread, b"postgres", 1, 0, 3, 78, 1276)).replace(b") S", b") %s" % state)
        (tmp_path / str(thread) / "stat").write_bytes(text)
        (tmp_path / str(thread)).rename(at / f"task/{thread}")
    return at


def test_a_process_whose_first_thread_ended_is_read_through_one_that_lives(headless, reader):
    stat_line = reader.stat_line(5)
    assert (stat_line.ended, stat_line.headless, stat_line.thread) == (False, True, 7)
    facts = reader.facts(stat_line, EVERYTHING, Held(0, -5, "r"))
    assert (facts.pid, facts.thread, facts.start_ticks, facts.held) == (5, 7, 77, Held(0, -5, "r"))
    assert (facts.exe, facts.cmdline, dict(facts.cgroups)) == ("/usr/bin/postgres", ("a", "b c"), {"": "/a"})
    assert (facts.rss_pages, facts.oom_score_adj, facts.uids) == (1276, -5, (1000, 33, 0))


def test_it_is_no_ended_process_when_that_thread_ends_too_and_its_groups_are_unknown(headless, reader):
    stat_line = reader.stat_line(5)
    shutil.rmtree(headless / "task/7")
    facts = reader.facts(stat_line, EVERYTHING)
    assert (facts.thread, facts.exe, facts.cmdline, dict(facts.cgroups), facts.pod_unknown) == (0, "", (), {}, True)
    assert (facts.oom_score_adj, facts.uids) == (-5, (1000, 33, 0))
    assert (reader.stat_line(5).ended, reader.stat_line(5).thread) == (False, 0)


def test_what_is_ignored_in_a_group_is_a_candidate_where_the_group_is_that_of_an_ended_thread(headless, reader):
    ignored = IgnoredNames(set(), {(b"postgres\n", b"0::/stale\n")}, asks_groups=True)
    assert [pid for pid, _ in reader.iter_candidates([b"5"], ignored, (), ())] == [5]


def test_a_hidden_program_is_an_empty_name(put, reader, tmp_path):
    put(5)
    (tmp_path / "5/exe").unlink()
    assert reader.facts(reader.stat_line(5), EVERYTHING).exe == ""


def test_a_process_that_ends_between_two_files_is_gone(put, reader, tmp_path):
    put(5)
    stat_line = reader.stat_line(5)
    (tmp_path / "5/cgroup").unlink()
    with pytest.raises(ProcessGone):
        reader.facts(stat_line, EVERYTHING)


def test_equal_groups_are_one_object(put, reader):
    put(5)
    put(6)
    assert (
        reader.facts(reader.stat_line(5), EVERYTHING).cgroups is reader.facts(reader.stat_line(6), EVERYTHING).cgroups
    )


@pytest.mark.parametrize(("lineage", "pids"), [(Lineage.NONE, []), (Lineage.PARENT, [4]), (Lineage.ALL, [4, 3, 1])])
def test_ancestors_are_read_as_far_as_asked(put, reader, lineage, pids):
    put(1, ppid=0)
    put(3, ppid=1)
    put(4, ppid=3)
    put(5, ppid=4)
    process = reader.with_ancestors(reader.facts(reader.stat_line(5), EVERYTHING), lineage, EVERYTHING, nobody)
    assert [ancestor.pid for ancestor in process.ancestors] == pids


def test_an_ancestor_that_is_gone_ends_the_line(put, reader):
    put(4, ppid=3)
    put(5, ppid=4)
    process = reader.with_ancestors(reader.facts(reader.stat_line(5), EVERYTHING), Lineage.ALL, EVERYTHING, nobody)
    assert [ancestor.pid for ancestor in process.ancestors] == [4]


def test_a_line_that_bites_its_tail_ends(put, reader):
    put(4, ppid=5)
    put(5, ppid=4)
    process = reader.with_ancestors(reader.facts(reader.stat_line(5), EVERYTHING), Lineage.ALL, EVERYTHING, nobody)
    assert [ancestor.pid for ancestor in process.ancestors] == [4]
    assert {p.pid: len(p.ancestors) for p in reader.everybody(nobody)} == {4: 1, 5: 1}


def test_everybody_has_ancestors_from_among_them(put, reader, tmp_path):
    put(1, ppid=0)
    put(3, ppid=1)
    put(5, ppid=3)
    (tmp_path / "self").mkdir()
    assert {p.pid: [a.pid for a in p.ancestors] for p in reader.everybody(nobody)} == {1: [], 3: [1], 5: [3, 1]}


def test_a_group_nested_deeper_than_the_kernel_prints_is_unknown_and_the_rest_is_read(put, reader, tmp_path):
    put(4)
    put(5, ppid=4)
    (tmp_path / "4" / "cgroup").unlink()
    (tmp_path / "4" / "cgroup").symlink_to("x" * 300)  # reading it fails with ENAMETOOLONG
    deep, beside = sorted(reader.everybody(nobody), key=lambda process: process.pid)
    assert (deep.exe, deep.uids, deep.cgroups, deep.pod_unknown) == ("/usr/bin/postgres", (1000, 33, 0), {}, True)
    assert (beside.cgroups, beside.pod_unknown, [a.pid for a in beside.ancestors]) == ({"": "/a"}, False, [4])
    assert reader.group_text(4) == b""


def test_one_that_cannot_be_read_is_left_out_of_everybody(put, reader, tmp_path):
    put(4)
    put(5, ppid=4)
    (tmp_path / "4" / "oom_score_adj").unlink()
    (tmp_path / "4" / "oom_score_adj").mkdir()
    (other,) = reader.everybody(nobody)
    assert (other.pid, other.ancestors) == (5, ())
    stat_line = reader.stat_line(5)
    assert reader.with_ancestors(reader.facts(stat_line, EVERYTHING), Lineage.ALL, EVERYTHING, nobody).ancestors == ()


def test_a_real_process_through_a_descriptor_is_the_same_as_by_number():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with ProcRoot("/proc") as proc, proc.open(child.pid) as opened:
            reader = ProcReader(proc)
            by_number = reader.facts(reader.stat_line(child.pid), EVERYTHING)
            through = reader.facts(reader.stat_line_of(opened), EVERYTHING, opened=opened)
            assert (through.pid, through.ppid, through.exe) == (
                child.pid,
                os.getpid(),
                os.path.realpath(sys.executable),
            )
            assert (by_number.start_ticks, by_number.cgroups) == (through.start_ticks, through.cgroups)
            assert child.pid in reader.pids()
    finally:
        child.kill()
        child.communicate()


def test_groups_are_kept_for_a_round_in_which_no_process_was_in_them_and_no_longer(reader):
    kept, left = b"0::/kept\n", b"0::/left\n"
    groups = {text: reader.place_of(text)[0] for text in (kept, left)}
    reader.begin_round()
    assert reader.place_of(kept)[0] is groups[kept]
    reader.begin_round()
    assert reader.place_of(kept)[0] is groups[kept]
    assert reader.place_of(left)[0] is not groups[left]
    assert reader.place_of(left)[0] == {"": "/left"}
