from typing import NamedTuple

import pytest
from holdfast.errors import ProcessGone
from holdfast.node.engine.user_rate_limit import FREE_EVENTS, MOST_EVENTS, MOST_USERS, WINDOW_S, UserRateLimit


class Opened(NamedTuple):
    """An open process."""

    pid: int


class Tree:
    """A hierarchy in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def at(self, path):
        return f"{self.folder}{path}"


class Hierarchy:
    def __init__(self, tree):
        self.trees = {"": tree}


class Reader:
    """Processes by number: the user of each, and where it is."""

    def __init__(self):
        self.processes = {}

    def real_uid_of(self, process):
        if process.pid not in self.processes:
            raise ProcessGone(str(process.pid))
        return self.processes[process.pid][0]

    def group_text_of(self, process):
        return self.processes[process.pid][1].encode()

    def place_of(self, text):
        return {"": text.decode()}, None


@pytest.fixture
def reader():
    return Reader()


@pytest.fixture
def user_limit(reader, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    return UserRateLimit(reader, Hierarchy(Tree(tmp_path)))


def storm(user_limit, reader, first, number, *, uid=1001, group="/a", now=100.0):
    """So many processes, an event of each; how many were served."""
    reader.processes.update(dict.fromkeys(range(first, first + number), (uid, group)))
    return sum(user_limit.allows(Opened(pid), now) for pid in range(first, first + number))


def test_few_events_are_served_without_a_look_at_whose_they_are(user_limit):
    assert all(
        user_limit.allows(Opened(pid), 100 + second * WINDOW_S) for second in range(9) for pid in range(FREE_EVENTS)
    )
    assert (user_limit.skipped, user_limit.slowed) == (0, 0)


def test_a_new_process_for_each_event_is_served_no_longer_and_others_are(user_limit, reader):
    served = storm(user_limit, reader, 1, 5000)
    assert served == FREE_EVENTS + MOST_EVENTS
    assert (user_limit.skipped, user_limit.slowed) == (5000 - served, 1)
    assert storm(user_limit, reader, 6000, 9) == 0
    assert storm(user_limit, reader, 7000, 9, uid=0) == 9
    assert storm(user_limit, reader, 8000, 9, group="/b") == 9
    assert storm(user_limit, reader, 9000, 5000, now=130.0) == served, "the same a second later"
    assert user_limit.slowed == 1, "told once until the rescan"
    user_limit.begin_anew()
    storm(user_limit, reader, 15000, 5000, now=131.0)
    assert user_limit.slowed == 2


def test_who_changes_its_user_at_each_event_is_no_new_crowd_each_time(user_limit, reader):
    reader.processes = {pid: (100000 + pid, "/a") for pid in range(50000)}
    served = sum(user_limit.allows(Opened(pid), 100.0) for pid in range(50000))
    assert served == FREE_EVENTS + MOST_USERS + MOST_EVENTS
    assert user_limit.slowed == 1
    assert storm(user_limit, reader, 60000, 9, uid=0) == 9, "root is not among the others"
    assert storm(user_limit, reader, 70000, 9, group="/b") == 9
    assert storm(user_limit, reader, 80000, MOST_USERS, uid=5, now=130.0) == MOST_USERS, "another window"


def test_who_has_ended_is_counted_for_nobody(user_limit, reader):
    storm(user_limit, reader, 1, FREE_EVENTS)
    with pytest.raises(ProcessGone):
        user_limit.allows(Opened(10**6), 100.0)
    assert user_limit.slowed == 0


@pytest.mark.root
def test_groups_of_a_users_own_are_counted_as_the_one_that_root_gave_it(user_limit, reader, tmp_path):
    import os

    for group in ("user.slice/user@7.service/evil", "user.slice/other"):
        (tmp_path / group).mkdir(parents=True)
    os.chown(tmp_path / "user.slice/user@7.service", 1001, 1001)
    os.chown(tmp_path / "user.slice/user@7.service/evil", 1001, 1001)
    each = "/user.slice/user@7.service/evil/{}"
    reader.processes = {pid: (1001, each.format(pid)) for pid in range(5000)}
    served = sum(user_limit.allows(Opened(pid), 100.0) for pid in range(5000))
    assert served == FREE_EVENTS + MOST_EVENTS
    assert user_limit._of_root({"": "/user.slice/other"}) == "/user.slice/other"
    assert user_limit._of_root({"": "/user.slice/user@7.service/evil"}) == "/user.slice"
