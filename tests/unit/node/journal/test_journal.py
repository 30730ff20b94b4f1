import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from holdfast.errors import Unavailable
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import ADJ, HandRow, HeldRow, MadeRow, SettingRow, cgroup_field
from hypothesis import example, given
from hypothesis import strategies as st


@pytest.fixture
def journal(tmp_path):
    opened = Journal(tmp_path / "journal.db", "boot-1")
    yield opened
    opened.close()


def row(before, written, pid=7, field=ADJ, rule="r", **more):
    return HeldRow(pid, 100, field, before, written, rule, **more)


def test_what_is_noted_is_read_back(journal):
    rows = [row("0", "-500"), row("/", "/a", field=cgroup_field("memory"), as_child=True, give_back=False)]
    journal.hold(rows)
    assert sorted(journal.held(), key=lambda r: r.field) == sorted(rows, key=lambda r: r.field)
    assert journal.held_of(7, 100) == journal.held()
    assert journal.held_of(7, 101) == []


def test_the_first_before_stays_while_the_value_is_ours(journal):
    journal.hold([row("0", "-500")])
    journal.hold([row("-500", "-900", rule="s")])
    assert journal.held() == [row("0", "-900", rule="s", previous="-500")]


def test_a_crash_between_row_and_write_leaves_both_values_ours(journal):
    journal.hold([row("0", "-500")])
    journal.hold([row("-500", "-900")])  # and then killed: -500 still stands
    (held,) = journal.held()
    assert [held.is_ours(value) for value in ("-500", "-900", "0")] == [True, True, False]
    journal.hold([row("-500", "-900")])  # the next run writes again what was never written
    assert journal.held() == [row("0", "-900", previous="-500")]


def test_somebody_elses_later_choice_becomes_what_is_given_back(journal):
    journal.hold([row("0", "-500")])
    journal.hold([row("300", "-500")])
    assert [held.before for held in journal.held()] == ["300"]


def test_another_rule_takes_over_what_stands(journal):
    journal.hold([row("0", "-500")])
    journal.rerule(7, 100, "s", as_child=True, give_back=False)
    assert journal.held() == [row("0", "-500", rule="s", as_child=True, give_back=False)]


def test_settings_keep_the_first_before_and_the_last_two_written(journal):
    journal.set(SettingRow("memory", "/a", "memory.limit_in_bytes", "max", "1", "r"))
    journal.set(SettingRow("memory", "/a", "memory.limit_in_bytes", "1", "2", "s"))
    assert journal.settings() == [SettingRow("memory", "/a", "memory.limit_in_bytes", "max", "2", "s", previous="1")]


def test_groups_come_deepest_first(journal):
    journal.make([MadeRow("", "/a", "r"), MadeRow("", "/a/b/c", "r"), MadeRow("", "/a/b", "r")])
    journal.make([MadeRow("", "/a", "other")])
    assert [made.path for made in journal.made()] == ["/a/b/c", "/a/b", "/a"]
    assert journal.made()[-1].rule == "r"


def test_what_is_forgotten_is_gone_and_the_rest_stays(journal):
    setting, made, hand = SettingRow("", "/a", "f", "0", "1", "r"), MadeRow("", "/a", "r"), HandRow(7, 100, -5, 99, "w")
    journal.hold([row("0", "1"), row("0", "2", pid=8)])
    journal.set(setting)
    journal.make([made])
    journal.hold_by_hand(hand)
    journal.forget([row("0", "1"), setting, made, hand])
    assert (journal.held(), journal.settings(), journal.made(), journal.by_hand()) == (
        [row("0", "2", pid=8)],
        [],
        [],
        [],
    )


def test_it_survives_being_opened_again_in_the_same_boot_only(tmp_path, journal):
    journal.hold([row("0", "-500")])
    journal.close()
    again = Journal(tmp_path / "journal.db", "boot-1")
    assert again.held() == [row("0", "-500")]
    again.close()
    after_reboot = Journal(tmp_path / "journal.db", "boot-2")
    assert (after_reboot.held(), after_reboot.made(), after_reboot.by_hand()) == ([], [], [])
    after_reboot.close()


def test_a_file_that_somebody_else_writes_is_left_to_them(tmp_path, journal):
    with pytest.raises(Unavailable, match="database is locked"):
        Journal(tmp_path / "journal.db", "boot-1")
    assert list(tmp_path.glob("*.bad")) == []
    journal.hold([row("0", "-500")])


def test_a_file_that_is_no_database_is_put_aside(tmp_path):
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 40)
    journal = Journal(path, "boot")
    journal.hold([row("0", "1")])
    assert len(journal.held()) == 1
    journal.close()
    assert [p.read_bytes()[:5] for p in tmp_path.glob("journal.db.*.bad")] == [b"not a"]


def test_a_file_of_another_version_begins_anew(tmp_path):
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE held (x)")
        db.execute("PRAGMA user_version = 99")
    db.close()
    journal = Journal(path, "boot")
    journal.hold([row("0", "1")])
    assert len(journal.held()) == 1
    journal.close()


def test_the_file_is_ours_alone(tmp_path, journal):
    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600


def test_a_failing_transaction_leaves_nothing(journal):
    with pytest.raises(Unavailable, match=r"^journal .*NOT NULL .*; nothing is written without it"):
        journal.set(SettingRow("", "/a", "f", None, "1", "r"))
    assert journal.settings() == []
    journal.set(SettingRow("", "/a", "f", "0", "1", "r"))
    assert len(journal.settings()) == 1


def test_rows_that_find_no_room_are_refused_whole(journal, tmp_path):
    journal.hold([row("0", "1")])
    full = os.open("/dev/full", os.O_RDWR)
    real, journal._tail._file = journal._tail._file, full
    with pytest.raises(Unavailable, match=r"^journal .*-tail: no space left on device; nothing is written without it"):
        journal.hold([row("0", "1", pid=8)])
    journal._tail._file = real
    os.close(full)
    journal.hold([row("0", "1", pid=9)])
    assert [held.pid for held in journal.held()] == [7, 9]


NAMES = st.binary(min_size=1, max_size=12).map(
    lambda raw: "/" + raw.replace(b"\0", b"\n").decode(errors="surrogateescape")
)


@given(NAMES, NAMES)
@example("/\udcff", "/a\\udcff")
def test_a_group_of_any_bytes_is_remembered_as_it_is(before, written):
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.db", "boot")
        held = row(before, written, field=cgroup_field(""))
        setting = SettingRow("", before, "memory.max", "max", "1", "r")
        journal.hold([held])
        journal.set(setting)
        journal.make([MadeRow("", written, "r")])
        journal.close()
        journal = Journal(Path(folder) / "journal.db", "boot")
        assert (journal.held(), journal.settings()) == ([held], [setting])
        assert [made.path for made in journal.made()] == [written]
        journal.forget([held, setting, MadeRow("", written, "r")])
        assert (journal.held(), journal.settings(), journal.made()) == ([], [], [])
        journal.close()


class TestKilled:
    """What a killed daemon leaves behind: copies of its files, opened by another."""

    def copied(self, journal, at):
        at.mkdir()
        for path in journal.path.parent.glob("journal.db*"):
            shutil.copy(path, at)
        return at / "journal.db"

    def held_by_successor(self, path, boot_id="boot-1"):
        successor = Journal(path, boot_id)
        held = successor.held()
        successor.close()
        return held

    def test_rows_in_the_tail_alone_are_found(self, journal, tmp_path):
        journal.hold([row("0", "1")])
        journal.hold([row("1", "2")])
        path = self.copied(journal, tmp_path / "copy")
        with contextlib.closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT * FROM held").fetchall() == [], "not in the database yet"
        assert self.held_by_successor(path) == journal.held()

    def test_rows_that_were_taken_in_are_not_taken_in_again(self, journal, tmp_path, monkeypatch):
        """Killed between the database's commit and the emptying of the tail."""
        monkeypatch.setattr(journal._tail, "empty", lambda: None)
        journal.hold([row("0", "1")])
        journal.forget(journal.held())
        path = self.copied(journal, tmp_path / "copy")
        assert path.with_name("journal.db-tail").stat().st_size > 0
        assert self.held_by_successor(path) == []

    def test_a_line_that_is_not_whole_ends_the_tail(self, journal, tmp_path):
        journal.hold([row("0", "1")])
        path = self.copied(journal, tmp_path / "copy")
        with open(f"{path}-tail", "ab") as tail:
            tail.write(b'[1,8,100,"oom_score_adj","0"')
        assert [held.pid for held in self.held_by_successor(path)] == [7]

    def test_the_tail_of_another_boot_is_dropped(self, journal, tmp_path):
        journal.hold([row("0", "1")])
        assert self.held_by_successor(self.copied(journal, tmp_path / "copy"), "boot-2") == []

    def test_many_rows_are_taken_in_while_it_runs(self, journal):
        for number in range(600):
            journal.hold([row("0", "1", pid=1000 + number)])
        assert 0 < len(journal._waiting) < 512
        assert len(journal.held()) == 600


def test_two_threads_write_at_once(journal):
    def write(first):
        for number in range(200):
            journal.hold([row("0", "1", pid=first + number)])

    threads = [threading.Thread(target=write, args=(first,)) for first in (1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.held()) == 400
    journal.fold()
