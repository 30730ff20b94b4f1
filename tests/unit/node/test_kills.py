import pytest
from holdfast.errors import Unavailable
from holdfast.node.kills import Kills
from holdfast.node.snapshot import Kill, Standing


def kill(at_ns, pid=7):
    standing = (Standing(pid, "x", 100, 5), Standing(8, "y", 50, -5))
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


def test_the_oldest_go_when_there_are_too_many(kills):
    for number in range(10):
        kills.add(number, kill(number * 100))
    assert [k.at_ns for k in kills.latest()] == [900, 800, 700]


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
