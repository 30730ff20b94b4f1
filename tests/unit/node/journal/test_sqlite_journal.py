"""What the release before left is taken in: rolling an upgrade loses nothing."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import AdjRow, FileRow, GroupRow, MoveRow, OverrideRow

SCHEMA = """
CREATE TABLE held (
    pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL, field TEXT NOT NULL,
    before TEXT NOT NULL, written TEXT NOT NULL, previous TEXT NOT NULL,
    rule TEXT NOT NULL, as_child INTEGER NOT NULL, give_back INTEGER NOT NULL,
    PRIMARY KEY (pid, start_ticks, field)) WITHOUT ROWID;
CREATE TABLE settings (
    hierarchy TEXT NOT NULL, path TEXT NOT NULL, file TEXT NOT NULL,
    before TEXT NOT NULL, written TEXT NOT NULL, previous TEXT NOT NULL, rule TEXT NOT NULL, give_back INTEGER NOT NULL,
    PRIMARY KEY (hierarchy, path, file)) WITHOUT ROWID;
CREATE TABLE made (
    hierarchy TEXT NOT NULL, path TEXT NOT NULL, rule TEXT NOT NULL, PRIMARY KEY (hierarchy, path)) WITHOUT ROWID;
CREATE TABLE by_hand (
    pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL, adj INTEGER NOT NULL, expires_ns INTEGER NOT NULL,
    why TEXT NOT NULL, PRIMARY KEY (pid, start_ticks)) WITHOUT ROWID;
CREATE TABLE about (boot_id TEXT NOT NULL);
CREATE TABLE taken (generation INTEGER NOT NULL);
INSERT INTO about VALUES ('boot'); INSERT INTO taken VALUES (3); PRAGMA user_version = 1;
"""
ADJ = ("INSERT INTO held VALUES (7, 100, 'oom_score_adj', '5', '300', '', 'r', 0, 1)",)


@pytest.fixture
def older(tmp_path):
    """Makes what the older release left; answers the journal's path."""

    def make(*statements, tail=()):
        with contextlib.closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")  # a disk's own time is not what is tested
            db.executescript(SCHEMA)
            for statement in statements:
                db.execute(statement)
        lines = [json.dumps(line) if isinstance(line, list) else line for line in tail]
        (tmp_path / "journal.db-tail").write_text("".join(f"{line}\n" for line in lines))
        return tmp_path / "journal"

    return make


def rows_at(path, boot_id="boot"):
    journal = Journal(path, boot_id)
    found = sorted(journal.table.rows(), key=repr)
    journal.close()
    return found


def test_every_kind_of_row_is_taken_in(older):
    path = older(
        *ADJ,
        "INSERT INTO held VALUES (7, 100, 'cgroup:memory', '/a', '/b', '/c', 'r', 0, 0)",
        "INSERT INTO settings VALUES ('pids', '/b', 'pids.max', 'max', '50', '', 'r', 1)",
        "INSERT INTO made VALUES ('memory', '/b', 'r')",
        "INSERT INTO by_hand VALUES (8, 200, 700, 99, 'why')",
    )
    expected = [
        AdjRow(7, 100, 5, "r", wanted=300),
        FileRow("pids", "/b", "pids.max", "max", "r", wanted="50"),
        GroupRow("memory", "/b", "r", base="/a"),
        MoveRow(7, 100, "memory", "/a", "r", written="/c", wanted="/b", give_back=False),
        OverrideRow(8, 200, 700, 99, "why"),
    ]
    assert rows_at(path) == expected
    assert rows_at(path) == expected, "and stay"


def test_it_is_taken_in_once_and_kept_under_another_name(older, tmp_path):
    path = older(*ADJ)
    journal = Journal(path, "boot")
    journal.forget(list(journal.table.rows()))
    journal.close()
    assert rows_at(path) == []
    assert (tmp_path / "journal.db.taken-in").exists()
    assert not (tmp_path / "journal.db").exists()


def test_lines_that_its_database_had_not_taken_in_count(older):
    tail = [
        [3, 7, 100, "oom_score_adj", "300", "400", "s", True, False],
        [3, 9, 100, "oom_score_adj", "0", "1", "r", False, True],
        [2, 10, 100, "oom_score_adj", "0", "1", "r", False, True],  # of an older generation: taken in already
        "[3,11,100,",  # not whole
        [3, 12, 100, "oom_score_adj", "0", "1", "r", False, True],
    ]
    assert rows_at(older(*ADJ, tail=tail)) == [
        AdjRow(7, 100, 5, "s", written=300, wanted=400, as_child=True, give_back=False),
        AdjRow(9, 100, 0, "r", wanted=1),
    ]


def test_what_another_program_chose_in_between_is_what_was_before(older):
    tail = [[3, 7, 100, "oom_score_adj", "77", "300", "r", False, True]]
    assert rows_at(older(*ADJ, tail=tail)) == [AdjRow(7, 100, 77, "r", written=300, wanted=300)]


def test_that_of_another_boot_is_dropped(older):
    assert rows_at(older(*ADJ), "another boot") == []


@pytest.mark.parametrize(
    ("where", "broken"),
    [
        ("before is no number", "UPDATE held SET before = 'x'"),
        ("written is no number", "UPDATE held SET written = '5o0'"),
        ("before is out of range", "UPDATE held SET before = '99999'"),
        ("before is no text", "UPDATE held SET before = cast(x'ff37' AS text)"),
    ],
    ids=lambda text: text.split(" SET")[0],
)
def test_a_row_that_makes_no_sense_costs_itself_and_is_told(older, caplog, where, broken):
    path = older(*ADJ, broken, "INSERT INTO made VALUES ('', '/b', 'r')")
    assert rows_at(path) == [GroupRow("", "/b", "r")], where
    assert "is skipped" in caplog.records[0].getMessage()


def test_a_name_that_is_no_text_is_taken_in(older):
    path = older("INSERT INTO made VALUES ('', cast(x'2fff' AS text), 'r')")
    assert rows_at(path) == [GroupRow("", "/\udcff", "r")]


def test_a_file_that_is_no_database_is_told_and_kept(tmp_path, caplog):
    (tmp_path / "journal.db").write_bytes(b"not a database, but long enough to be taken for one" * 40)
    assert rows_at(tmp_path / "journal") == []
    assert "cannot be read" in caplog.records[0].getMessage()
    assert (tmp_path / "journal.db.taken-in").read_bytes().startswith(b"not a database")


def test_a_row_that_is_known_already_is_the_newer_one(older):
    path = older(*ADJ)
    journal = Journal(path.with_name("other"), "boot")
    journal.commit([AdjRow(7, 100, 1, "newer", written=2)])
    journal.close()
    path.with_name("other").rename(path)
    assert rows_at(path) == [AdjRow(7, 100, 1, "newer", written=2)]
