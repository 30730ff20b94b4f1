import sqlite3

import pytest
from holdfast.pods.created import Created, CreatedFile, CreatedStore

ROWS = [Created("a", 985, -500, "pg"), Created("b", None, 0, "r")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "created.db"


def filled(path):
    store = CreatedStore(path)
    for row in ROWS:
        store.put(row)
    return store


def test_what_was_put_is_there_after_a_restart(path):
    filled(path).close()
    store = CreatedStore(path)
    assert [store.get(row.container_id) for row in ROWS] == ROWS
    assert store.get("c") is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_put_is_there_for_who_opens_it_without_a_close(path):
    filled(path)
    assert len(CreatedStore(path)) == 2


FILES = [CreatedFile("a", "memory.min", "0", "4096", "pg"), CreatedFile("a", "memory.oom.group", "1", "0", "pg")]


def test_files_are_there_after_a_restart_until_their_container_goes(path):
    store = CreatedStore(path)
    store.put_files(FILES)
    store.close()
    store = CreatedStore(path)
    assert (list(store.files("a")), store.files("b")) == (FILES, ())
    store.keep_only(["a"])
    assert list(store.files("a")) == FILES
    store.keep_only(["b"])
    store.close()
    assert CreatedStore(path).files("a") == ()


def test_files_that_cannot_be_written_are_not_remembered(path):
    store = CreatedStore(path)
    store.close()
    with pytest.raises(sqlite3.Error):
        store.put_files(FILES)
    assert store.files("a") == ()


def test_containers_that_are_gone_are_forgotten(path):
    store = filled(path)
    store.drop(["a", "nobody"])
    store.close()
    assert [CreatedStore(path).get(name) for name in "ab"] == [None, ROWS[1]]


def test_only_containers_that_are_keep_their_rows(path):
    store = filled(path)
    store.keep_only(["b", "c"])
    assert len(store) == len(CreatedStore(path)) == 1


def test_a_file_that_is_no_database_is_made_anew(path):
    path.write_bytes(b"not sqlite at all" * 100)
    store = CreatedStore(path)
    store.put(ROWS[0])
    assert len(CreatedStore(path)) == 1


def test_what_cannot_be_written_is_not_remembered(path):
    store = CreatedStore(path)
    store.close()
    with pytest.raises(sqlite3.Error):
        store.put(ROWS[0])
    assert len(store) == 0
