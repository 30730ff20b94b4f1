"""The journal's file: what is in it is found again, whatever became of it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest
from holdfast.errors import Unavailable
from holdfast.node.journal.journal import SPARE, Journal
from holdfast.node.journal.line import FORMAT, Header, packed, seed_of
from holdfast.node.journal.rows import AdjRow, FileRow, GroupRow, MoveRow, OverrideRow
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

BOOT = "boot-1"
ADJ = AdjRow(7, 100, 0, "r", written=5, wanted=9, earlier=(1, 2), since_ticks=99, as_child=True, origin="bundle")
MOVE = MoveRow(7, 100, "memory", "/a", "r", wanted="/b", heir_of=(3, 4))
FILE = FileRow("memory", "/a", "memory.limit_in_bytes", "max", "r", wanted="1", give_back=False)
GROUP = GroupRow("", "/a/b", "r", base="/c")
HAND = OverrideRow(7, 100, -5, 99, "why")
ALL = (ADJ, MOVE, FILE, GROUP, HAND)


@pytest.fixture
def tmp_path():
    """In memory: a disk's own time is not what is tested."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def journal(tmp_path):
    opened = Journal(tmp_path / "journal", BOOT)
    yield opened
    opened.close()


def rows_of(journal):
    return sorted(journal.table.rows(), key=repr)


def reopened(path, boot_id=BOOT):
    again = Journal(path, boot_id)
    found = rows_of(again)
    again.close()
    return found


def copied(journal, at, text=None):
    at.mkdir(exist_ok=True)
    path = at / "journal"
    path.write_bytes(journal.path.read_bytes() if text is None else text)
    return path


def adj(pid, **more):
    return AdjRow(pid, 100, 0, "r", wanted=5, **more)


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.key[0])
def test_each_kind_of_row_is_read_back(journal, tmp_path, row):
    journal.commit([row])
    assert rows_of(journal) == [row]
    assert reopened(copied(journal, tmp_path / "copy")) == [row]


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.key[0])
def test_each_kind_of_row_is_forgotten(journal, tmp_path, row):
    journal.commit(ALL)
    journal.forget([row])
    left = sorted((one for one in ALL if one is not row), key=repr)
    assert rows_of(journal) == left
    assert reopened(copied(journal, tmp_path / "copy")) == left


def test_rows_and_drops_are_committed_together(journal, tmp_path):
    journal.commit([HAND])
    journal.commit([ADJ], drops=[HAND])
    assert reopened(copied(journal, tmp_path / "copy")) == [ADJ]


def test_a_row_that_is_another_one_by_now_is_not_forgotten(journal):
    journal.commit([ADJ])
    later = adj(7, written=1)
    journal.commit([later])
    journal.forget([ADJ])
    assert rows_of(journal) == [later]


def test_an_equal_row_of_a_later_write_is_not_forgotten(journal):
    journal.commit([FILE])
    later = replace(FILE)
    journal.commit([later])
    journal.forget([FILE])
    assert rows_of(journal) == [later]


def test_a_later_row_replaces_an_earlier_one(journal, tmp_path):
    journal.commit([adj(7), AdjRow(7, 100, 0, "s", written=1)])
    assert reopened(copied(journal, tmp_path / "copy")) == [AdjRow(7, 100, 0, "s", written=1)]


def test_a_newcomer_ends_the_rows_of_who_had_its_number(journal, tmp_path):
    journal.commit([ADJ, MOVE, HAND])
    newcomer = AdjRow(7, 200, 0, "r", wanted=5)
    journal.commit([newcomer])
    assert rows_of(journal) == [newcomer]
    assert journal.table.overridden == {}
    assert reopened(copied(journal, tmp_path / "copy")) == [newcomer]


def test_a_row_of_who_had_the_number_before_is_nobodys(journal):
    newcomer = AdjRow(7, 200, 0, "r", wanted=5)
    journal.commit([newcomer])
    journal.commit([MOVE])
    assert rows_of(journal) == [newcomer]


def test_a_row_that_is_another_one_by_now_is_not_amended(journal, tmp_path):
    journal.commit([GROUP, FILE])
    journal.amend(GROUP, GroupRow("", "/a/b", "s", base="/c"))
    journal.amend(FileRow("memory", "/a", "memory.limit_in_bytes", "other", "r"), ADJ)
    expected = [FILE, GroupRow("", "/a/b", "s", base="/c")]
    assert rows_of(journal) == reopened(copied(journal, tmp_path / "copy")) == sorted(expected, key=repr)


def test_nothing_is_written_for_nothing(journal):
    size = journal.path.stat().st_size
    journal.commit([])
    journal.forget([ADJ])
    assert journal.path.stat().st_size == size


def test_the_rows_of_another_boot_are_dropped(journal, tmp_path):
    journal.commit(ALL)
    path = copied(journal, tmp_path / "copy")
    assert reopened(path, "boot-2") == []
    assert reopened(path, BOOT) == [], "for good"


def test_the_file_is_ours_alone(journal):
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_another_daemon_has_is_left_to_it(journal):
    with pytest.raises(Unavailable, match="another daemon has it: stop that one"):
        Journal(journal.path, BOOT)
    journal.commit([ADJ])


def test_it_is_another_daemons_still_after_it_was_written_anew(journal):
    journal._write_anew()
    with pytest.raises(Unavailable, match="another daemon has it"):
        Journal(journal.path, BOOT)


def test_where_no_file_can_be_it_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="not a directory; nothing is written without it"):
        Journal(tmp_path / "file" / "journal", BOOT)


NAMES = st.binary(min_size=1, max_size=12).map(
    lambda raw: "/" + raw.replace(b"\0", b"\n").decode(errors="surrogateescape")
)


@given(NAMES, NAMES)
@example("/\udcff\udc80", "/a\\udcff")
@example("/\U0001f600\udcff", "/\ufffd")
def test_a_group_of_any_bytes_is_remembered_as_it_is(before, written):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "journal"
        journal = Journal(path, BOOT)
        rows = [
            MoveRow(7, 100, "", before, "r", wanted=written),
            FileRow("", before, "memory.max", "max", "r", wanted="1"),
            GroupRow("", written, "r", base=before),
        ]
        journal.commit(rows)
        journal.close()
        assert reopened(path) == sorted(rows, key=repr)
        journal = Journal(path, BOOT)
        journal.forget(map(journal.table.get, rows[1:]))
        journal.close()
        assert reopened(path) == rows[:1]


class TestBounded:
    def test_it_is_written_anew_when_it_has_twice_its_live_rows(self, journal):
        journal.commit(ALL)
        for number in range(SPARE + 100):
            journal.commit([adj(7, since_ticks=number)])
        before = journal.path.stat().st_size
        journal.tidy()
        assert journal.path.stat().st_size < before / 10
        assert len(rows_of(journal)) == len(ALL)
        assert journal.path.read_bytes().count(b"\n") == 1 + len(ALL)

    def test_it_is_left_as_it_is_while_most_of_it_is_live(self, journal):
        journal.commit(adj(number) for number in range(1, 2 * SPARE))
        inode = journal.path.stat().st_ino
        journal.tidy()
        assert journal.path.stat().st_ino == inode

    def test_what_is_committed_after_it_was_written_anew_is_found(self, journal, tmp_path):
        journal.commit([ADJ])
        journal._write_anew()
        journal.commit([GROUP])
        assert reopened(copied(journal, tmp_path / "copy")) == sorted([ADJ, GROUP], key=repr)

    def test_what_a_killed_daemon_left_beside_it_is_no_obstacle(self, journal):
        journal.path.with_name("journal.new").write_bytes(b"half")
        journal._write_anew()
        assert not journal.path.with_name("journal.new").exists()


class TestFullDisk:
    @pytest.fixture
    def full(self, journal):
        """A journal on a full disk."""
        device = os.open("/dev/full", os.O_RDWR)
        real, journal._file = journal._file, device
        yield journal
        journal._file = real
        os.close(device)

    def test_what_finds_no_room_is_refused_whole_and_is_not_in_the_table(self, full):
        with pytest.raises(Unavailable, match=r"^journal .*: no space left on device; nothing is written without it"):
            full.commit([ADJ, GROUP])
        assert rows_of(full) == []

    def test_what_is_so_already_counts_all_the_same(self, full):
        full.commit([ADJ], needed=False)
        assert rows_of(full) == [ADJ]

    def test_what_is_forgotten_is_forgotten_all_the_same(self, full):
        full.table.put(ADJ)
        full.forget([ADJ])
        assert rows_of(full) == []

    def test_a_torn_line_that_cannot_be_cut_off_costs_no_later_one(self, journal, tmp_path, monkeypatch):
        """The file system became read-only in the middle of a line, and is writable again."""

        def tears(file, data):
            write(file, data[:20])
            raise OSError(errno.EIO, "broken")

        def refuses(file, size):
            raise OSError(errno.EROFS, "read-only")

        write = os.write
        monkeypatch.setattr(os, "write", tears)
        monkeypatch.setattr(os, "ftruncate", refuses)
        with pytest.raises(Unavailable):
            journal.commit([adj(8)])
        monkeypatch.undo()
        journal.commit([ADJ])
        assert reopened(copied(journal, tmp_path / "copy")) == [ADJ]

    def test_the_file_catches_up_when_there_is_room(self, journal, tmp_path):
        journal.commit([ADJ, GROUP])
        os.close(journal._file)
        journal._file = os.open("/dev/full", os.O_RDWR)
        journal.forget([ADJ])
        assert reopened(copied(journal, tmp_path / "copy")) == sorted([ADJ, GROUP], key=repr)
        journal.commit([HAND])  # beside it there is room
        assert reopened(copied(journal, tmp_path / "copy")) == sorted([GROUP, HAND], key=repr)


class TestRootGone:
    def test_a_file_that_was_removed_is_made_anew_with_the_next_row(self, journal):
        journal.commit([ADJ])
        journal.path.unlink()
        journal.commit([GROUP])
        journal.close()
        assert reopened(journal.path) == sorted([ADJ, GROUP], key=repr)

    def test_a_directory_that_was_removed_is_made_anew(self, tmp_path):
        at = tmp_path / "root"
        at.mkdir()
        journal = Journal(at / "journal", BOOT)
        journal.commit([ADJ])
        shutil.rmtree(at)
        journal.check()
        journal.close()
        assert reopened(at / "journal") == [ADJ]

    def test_a_file_that_was_replaced_is_made_anew_and_told_once(self, journal, caplog):
        journal.commit([ADJ])
        other = journal.path.with_name("other")
        other.write_bytes(b"")
        os.replace(other, journal.path)
        journal.check()
        journal.check()
        journal.close()
        assert reopened(journal.path) == [ADJ]
        assert [record.getMessage() for record in caplog.records] == [
            "the journal's file was removed or replaced; it is written again from memory"
        ]

    def test_where_it_cannot_be_made_anew_nothing_is_written(self, tmp_path):
        at = tmp_path / "root"
        at.mkdir()
        journal = Journal(at / "journal", BOOT)
        shutil.rmtree(at)
        at.touch()
        with pytest.raises(Unavailable, match="nothing is written without it"):
            journal.check()
        with pytest.raises(Unavailable, match="nothing is written without it"):
            journal.commit([ADJ])
        at.unlink()
        journal.commit([ADJ])
        journal.close()
        assert reopened(at / "journal") == [ADJ]


class TestDamaged:
    ROWS = tuple(adj(pid) for pid in range(1, 9))

    @pytest.fixture
    def text(self, journal):
        journal.commit(self.ROWS)
        return journal.path.read_bytes()

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_on_a_full_disk_the_other_rows_count_and_the_damaged_text_is_kept(
        self, journal, text, tmp_path, monkeypatch, caplog, number
    ):
        lines = text.split(b"\n")
        damaged = b"\n".join([lines[0], lines[1][:-3] + b"#" + lines[1][-2:], *lines[2:]])
        path = copied(journal, tmp_path / "copy", damaged)
        real = os.open

        def is_full(name, flags, *more, **given):
            if str(name).endswith(".new"):
                raise OSError(number, "full")
            return real(name, flags, *more, **given)

        monkeypatch.setattr(os, "open", is_full)
        monkeypatch.setattr(Path, "write_bytes", lambda *unused: is_full(".new", 0))
        again = Journal(path, BOOT)
        (kept,) = path.parent.glob("journal.damaged-*")
        assert kept.read_bytes() == damaged
        (told,) = (record for record in caplog.records if "damaged" in record.getMessage())
        assert told.fields["kept"] == kept
        known = rows_of(again)
        assert len(known) == len(lines) - 3
        with pytest.raises(Unavailable, match="nothing is written without it"):
            again.commit([adj(70)])
        monkeypatch.undo()
        again.commit([adj(70)])
        again.close()
        assert kept.read_bytes() == damaged
        assert len(reopened(path)) == len(known) + 1

    @pytest.mark.parametrize("what", ["damaged", "newer"])
    def test_without_links_and_room_for_what_is_kept_it_is_not_replaced(
        self, journal, text, tmp_path, monkeypatch, what
    ):
        lines = text.split(b"\n")
        if what == "damaged":
            lines[1] = lines[1][:-3] + b"#" + lines[1][-2:]
        else:
            lines[0] = packed(Header(FORMAT + 1, FORMAT + 1, BOOT), 0).rstrip(b"\n")
        path = copied(journal, tmp_path / "copy", b"\n".join(lines))

        def refused(number):
            def call(*unused):
                raise OSError(number, os.strerror(number))

            return call

        monkeypatch.setattr(os, "link", refused(errno.EPERM))
        monkeypatch.setattr(Path, "write_bytes", refused(errno.ENOSPC))
        for _ in range(2):  # also after another start
            again = Journal(path, BOOT)
            with pytest.raises(Unavailable, match="nothing is written without it"):
                again.commit([adj(70)])
            again.tidy()
            again.close()
            assert os.listdir(path.parent) == ["journal"]
            assert path.read_bytes() == b"\n".join(lines)
        again = Journal(path, BOOT)
        monkeypatch.undo()
        again.commit([adj(70)])
        again.close()
        (kept,) = path.parent.glob("journal.*")
        assert kept.read_bytes() == b"\n".join(lines)
        assert adj(70) in reopened(path)

    def test_cut_at_every_byte_it_is_the_rows_that_were_whole(self, journal, text, tmp_path):
        for cut in range(len(text) + 1):
            path = copied(journal, tmp_path / "copy", text[:cut])
            whole = text[:cut].count(b"\n") - 1
            assert reopened(path) == list(self.ROWS[: max(0, whole)]), cut

    def test_after_a_cut_the_next_row_is_on_a_line_of_its_own(self, journal, text, tmp_path):
        path = copied(journal, tmp_path / "copy", text[:-3])
        again = Journal(path, BOOT)
        again.commit([GROUP])
        again.close()
        assert reopened(path) == sorted([*self.ROWS[:-1], GROUP], key=repr)

    def test_a_flipped_bit_costs_its_row_alone_is_told_and_kept(self, journal, text, tmp_path, caplog):
        lines = text.split(b"\n")
        lines[3] = lines[3].replace(b'"before":0', b'"before":1')
        path = copied(journal, tmp_path / "copy", b"\n".join(lines))
        assert reopened(path) == [row for row in self.ROWS if row.pid != 3]
        (kept,) = path.parent.glob("journal.damaged-*")
        assert kept.read_bytes() == b"\n".join(lines)
        assert kept.stat().st_mode & 0o777 == 0o600
        (told,) = caplog.records
        assert (told.fields["lines"], told.fields["kept"]) == (1, kept)
        assert reopened(path) == [row for row in self.ROWS if row.pid != 3]
        assert len(list(path.parent.glob("journal.damaged-*"))) == 1, "told once"

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_whatever_a_byte_becomes_the_other_rows_count(self, data):
        text = packed(Header(FORMAT, FORMAT, BOOT), 0) + b"".join(packed(row, seed_of(BOOT)) for row in self.ROWS)
        where = data.draw(st.integers(0, len(text) - 1))
        changed = bytearray(text)
        changed[where] = data.draw(st.integers(0, 255))
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            path = Path(folder) / "journal"
            path.write_bytes(changed)
            found = reopened(path)
        first = text[:where].count(b"\n")
        hurt = {first, first + 1} if text[where : where + 1] == b"\n" else {first}
        assert set(map(repr, found)) >= {repr(row) for row in self.ROWS if row.pid not in hurt}
        assert set(map(repr, found)) <= set(map(repr, self.ROWS))

    def test_a_damaged_header_costs_no_row(self, journal, text, tmp_path):
        path = copied(journal, tmp_path / "copy", b"x" + text[1:])
        assert reopened(path) == list(self.ROWS)

    def test_without_a_header_rows_of_another_boot_are_no_rows(self, journal, text, tmp_path):
        path = copied(journal, tmp_path / "copy", text.split(b"\n", 1)[1])
        assert reopened(path, "boot-2") == []

    def test_a_file_of_something_else_is_kept_and_begun_anew(self, tmp_path):
        (tmp_path / "journal").write_bytes(b"\x00something else\n altogether\n" * 50)
        journal = Journal(tmp_path / "journal", BOOT)
        journal.commit([ADJ])
        journal.close()
        assert reopened(tmp_path / "journal") == [ADJ]
        assert len(list(tmp_path.glob("journal.damaged-*"))) == 1

    @pytest.mark.parametrize("row", [b'{"kind":"adj","pid":1}', b'{"kind":"adj"', b"[]", b"{}", b'"adj"', b"\xff"])
    def test_a_whole_line_that_makes_no_sense_is_a_damaged_one(self, journal, text, tmp_path, row):
        import zlib

        line = b"%08x %s\n" % (zlib.crc32(row, seed_of(BOOT)), row)
        assert reopened(copied(journal, tmp_path / "copy", text + line)) == list(self.ROWS)

    @pytest.mark.parametrize("value", [99999, -1001, "5o0", None, 1.5])
    def test_a_value_that_no_process_can_have_is_a_damaged_row(self, journal, text, tmp_path, value):
        import json
        import zlib

        row = json.dumps({"kind": "adj", "pid": 99, "start_ticks": 1, "before": value, "rule": "r"}).encode()
        line = b"%08x %s\n" % (zlib.crc32(row, seed_of(BOOT)), row)
        assert reopened(copied(journal, tmp_path / "copy", text + line)) == list(self.ROWS)


class TestFormats:
    def line(self, text):
        import zlib

        return b"%08x %s\n" % (zlib.crc32(text, seed_of(BOOT)), text)

    def newer(self, *lines, reads=2):
        return packed(Header(3, reads, BOOT), 0) + b"".join(map(self.line, lines))

    def test_a_newer_format_that_we_can_read_is_read_without_what_we_do_not_know(self, tmp_path):
        text = self.newer(
            b'{"kind":"adj","pid":7,"start_ticks":100,"before":0,"rule":"r","wanted":5,"nice":-5}',
            b'{"kind":"nice","pid":7,"start_ticks":100,"before":0}',
        )
        (tmp_path / "journal").write_bytes(text)
        assert reopened(tmp_path / "journal") == [adj(7)]

    def test_what_we_do_not_know_is_there_for_the_newer_release_again(self, tmp_path):
        unknown = self.line(b'{"kind":"nice","pid":7,"start_ticks":100,"before":0}')
        (tmp_path / "journal").write_bytes(packed(Header(3, 2, BOOT), 0) + unknown)
        for _ in range(2):
            journal = Journal(tmp_path / "journal", BOOT)
            journal.commit([ADJ])
            journal._write_anew()
            journal.close()
        assert unknown in (tmp_path / "journal").read_bytes()

    def test_what_the_newer_release_dropped_stays_dropped(self, tmp_path):
        dropped = self.line(b'{"kind":"drop","of":["nice",7,100]}')
        (tmp_path / "journal").write_bytes(packed(Header(3, 2, BOOT), 0) + dropped)
        assert reopened(tmp_path / "journal") == []
        assert dropped in (tmp_path / "journal").read_bytes()

    def test_a_newer_format_that_we_cannot_read_is_put_aside_and_told(self, tmp_path, caplog):
        text = self.newer(b'{"kind":"adj"}', reads=3)
        path = tmp_path / "journal"
        path.write_bytes(text)
        assert reopened(path) == []
        (kept,) = tmp_path.glob("journal.format-3-*")
        assert kept.read_bytes() == text
        (record,) = caplog.records
        assert record.fields["remedy"] == (
            f"run holdfast restore, stop the daemon, move {kept} to {path}, start the newer release"
        )

    def test_an_earlier_file_that_was_put_aside_stays(self, tmp_path, monkeypatch):
        path = tmp_path / "journal"
        for moment in (1000, 2000):
            monkeypatch.setattr(time, "time", lambda moment=moment: moment)
            path.write_bytes(self.newer(b'{"kind":"adj"}', reads=3))
            assert reopened(path) == []
        assert len(list(tmp_path.glob("journal.format-3-*"))) == 2

    def test_a_newer_format_of_another_boot_is_nothing_to_tell(self, tmp_path, caplog):
        (tmp_path / "journal").write_bytes(self.newer(b'{"kind":"adj"}', reads=3))
        assert reopened(tmp_path / "journal", "boot-2") == []
        assert (caplog.records, list(tmp_path.glob("journal.*"))) == ([], [])

    def test_unknown_lines_of_another_boot_go_with_it(self, tmp_path):
        (tmp_path / "journal").write_bytes(self.newer(b'{"kind":"nice","pid":7}'))
        assert reopened(tmp_path / "journal", "boot-2") == []
        assert b"nice" not in (tmp_path / "journal").read_bytes()


def test_two_threads_write_at_once(journal, tmp_path):
    def write(first):
        for number in range(200):
            row = adj(first + number)
            journal.commit([row])
            if number % 3 == 0:
                journal.forget([row])

    threads = [threading.Thread(target=write, args=(first,)) for first in (1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows_of(journal)) == 2 * (200 - 67)
    assert reopened(copied(journal, tmp_path / "copy")) == rows_of(journal)


kinds = st.sampled_from(["commit", "forget", "tidy", "anew", "reopen"])
pids = st.integers(1, 5)


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(st.tuples(kinds, pids, st.integers(0, 3)), max_size=30))
def test_whatever_is_done_it_says_what_a_dictionary_says(steps):
    model = {}
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))) / "journal"
        journal = Journal(path, BOOT)
        stack.callback(lambda: journal.close())  # noqa: PLW0108 (the one there is then)
        for what, pid, ticks in steps:
            row = AdjRow(pid, ticks, 0, "r", written=ticks)
            known = model.get(pid)
            if what == "commit" and (known is None or known.start_ticks <= ticks):
                journal.commit([row])
                model[pid] = row
            elif what == "forget" and known is not None:
                journal.forget([journal.table.get(known)])
                del model[pid]
            elif what == "tidy":
                journal.tidy()
            elif what == "anew":
                journal._write_anew()
            elif what == "reopen":
                journal.close()
                journal = Journal(path, BOOT)
            assert {row.pid: row for row in journal.table.rows()} == model
