import sqlite3
import stat

import pytest
from holdfast import sqlitefile


def build(connection):
    connection.execute("CREATE TABLE a (b)")
    connection.execute("INSERT INTO a VALUES (1)")


def rows(path):
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT b FROM a").fetchall()
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    connection.close()
    return found, mode


def test_a_new_file_is_whole_its_owners_alone_and_in_wal_mode(tmp_path):
    path = tmp_path / "x.db"
    sqlitefile.make(path, build)
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rows(path) == ([(1,)], "wal")


def test_a_file_that_is_there_is_left_as_it_is(tmp_path):
    path = tmp_path / "x.db"
    sqlitefile.make(path, build)
    sqlitefile.make(path, lambda connection: pytest.fail("built again"))
    assert rows(path)[0] == [(1,)]


def test_what_a_killed_run_left_is_no_hindrance_and_a_failure_leaves_no_file(tmp_path):
    path = tmp_path / "x.db"
    for ending in ("", "-wal", "-shm"):
        (tmp_path / f"x.db.new{ending}").write_bytes(b"half")
    with pytest.raises(sqlite3.OperationalError):
        sqlitefile.make(path, lambda connection: connection.execute("CREATE"))
    assert not path.exists()
    sqlitefile.make(path, build)
    assert rows(path)[0] == [(1,)]


def test_a_damaged_file_is_put_aside_with_all_that_belongs_to_it(tmp_path):
    path = tmp_path / "x.db"
    for ending in ("", "-wal", "-tail"):
        (tmp_path / f"x.db{ending}").write_bytes(ending.encode())
    sqlitefile.put_aside(path, "-tail")
    names = sorted(found.name for found in tmp_path.iterdir())
    assert len(names) == 3
    assert [name.rpartition(".bad")[2] for name in names] == ["", "-tail", "-wal"]
