import signal
import sqlite3
import subprocess
import sys

import pytest
from holdfast.errors import Unavailable
from holdfast.node.model.memory_domain import Kill, RankedProcess
from holdfast.node.oom.store import Kills


def kill(at_ns, pid=7):
    standing = (RankedProcess(pid, "x", 100, 5), RankedProcess(8, "y", 50, -5))
    return Kill(at_ns, pid, "x", 0, "/", "/a", 10, 5, "rule", "uid", "cid", standing, at_ns, 1.5)


@pytest.fixture
def kills(tmp_path):
    opened = Kills(tmp_path / "kills.db", "boot", kept=3)
    yield opened
    opened.close()


def test_a_kill_comes_back_as_it_was_newest_first(kills):
    assert kills.add(1, kill(100))
    assert kills.add(2, kill(200))
    assert kills.latest() == (kill(200), kill(100))
    assert kills.latest(1) == (kill(200),)


def test_a_file_that_is_no_database_is_put_aside(tmp_path):
    path = tmp_path / "kills.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 40)
    kills = Kills(path, "boot")
    assert kills.add(1, kill(100))
    assert len(kills.latest()) == 1
    kills.close()
    assert [p.read_bytes()[:5] for p in tmp_path.glob("kills.db.*.bad")] == [b"not a"]


def test_the_same_line_of_the_log_is_kept_once(kills, tmp_path):
    assert kills.add(1, kill(100))
    assert not kills.add(1, kill(100))
    other_boot = Kills(tmp_path / "kills.db", "boot-2", kept=3)
    assert other_boot.add(1, kill(300))
    other_boot.close()
    assert len(kills.latest()) == 2


def test_a_kill_is_untold_until_it_was_told_also_for_the_next_run(kills, tmp_path):
    for number in (1, 2, 3):
        kills.add(number, kill(number * 100))
    kills.told([2, 2])
    assert [one.at_ns for one in kills.untold(0)] == [100, 300]
    assert [one.at_ns for one in kills.untold(100)] == [300]
    again = Kills(tmp_path / "kills.db", "boot", kept=3)
    again.told([1])
    assert [one.at_ns for one in again.untold(0)] == [300]
    again.close()
    other_boot = Kills(tmp_path / "kills.db", "boot-2", kept=3)
    assert other_boot.untold(0) == ()
    other_boot.close()


def test_what_was_told_goes_with_the_kills(kills):
    for number in range(10):
        kills.add(number, kill(number * 100))
    kills.told(range(10))
    kills.close()
    again = sqlite3.connect(kills._path)
    assert sorted(again.execute("SELECT number FROM told").fetchall()) == [(7,), (8,), (9,)]
    again.close()


def test_the_oldest_go_when_there_are_too_many(kills):
    for number in range(10):
        kills.add(number, kill(number * 100))
    assert [k.at_ns for k in kills.latest()] == [900, 800, 700]


def test_what_is_kept_is_there_after_kill_9_and_after_the_log_was_folded(tmp_path):
    path = tmp_path / "kills.db"
    script = """
import os, signal, sys
from pathlib import Path
from holdfast.node.oom.store import Kills
from holdfast.node.model.memory_domain import Kill
kills = Kills(Path(sys.argv[1]), "boot")
for number in range(250):
    kills.add(number, Kill(number, 7, "x", 0, "/", "/a", 10, 5))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, path], check=False)
    assert done.returncode == -signal.SIGKILL
    for _ in range(2):
        kills = Kills(path, "boot")
        assert [found.at_ns for found in kills.latest()] == [*range(249, -1, -1)]
        assert not kills.add(7, kill(7))
        kills.close()
        assert not path.with_name("kills.db-wal").exists()


def test_the_file_stays_bounded(tmp_path):
    path = tmp_path / "kills.db"
    kills = Kills(path, "boot", kept=3)
    for number in range(200):
        kills.add(number, kill(number))
    kills.close()
    kills.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM kills").fetchone() == (3,)
    db.close()


def test_a_kill_that_finds_no_room_is_refused_and_the_next_that_does_is_kept(kills):
    kills._db.execute("PRAGMA max_page_count = 1")  # as many as there are
    with pytest.raises(Unavailable, match="database or disk is full"):
        all(kills.add(number, kill(number)) for number in range(100))
    kills._db.execute("PRAGMA max_page_count = 1000")
    assert kills.add(1000, kill(1000))
    assert kills.latest(1) == (kill(1000),)


def test_the_log_is_read_on_from_where_it_was_left_in_this_boot(kills, tmp_path):
    assert kills.last_number() == -1
    kills.read_to(41)
    assert kills.last_number() == 41
    other_boot = Kills(tmp_path / "kills.db", "boot-2")
    assert other_boot.last_number() == -1
    other_boot.read_to(3)
    other_boot.close()
    assert kills.last_number() == -1


def test_a_file_that_cannot_be_opened_is_said(tmp_path):
    with pytest.raises(Unavailable, match=r"record of kills .*/none/kills\.db"):
        Kills(tmp_path / "none/kills.db", "boot")


def test_a_kill_of_a_name_of_any_bytes_is_kept_with_the_bytes_escaped(tmp_path):
    kills = Kills(tmp_path / "kills.db", "boot")
    kills.add(1, Kill(1, 7, "a\udcff", 0, "/\udcfe", "/\udcfe/b", 1, 0, predicted=(RankedProcess(7, "a\udcff", 1, 0),)))
    (kept,) = kills.latest()
    assert (kept.comm, kept.domain, kept.group) == (r"a\xff", r"/\xfe", r"/\xfe/b")
    assert kept.predicted == (RankedProcess(7, r"a\xff", 1, 0),)
    kills.close()
