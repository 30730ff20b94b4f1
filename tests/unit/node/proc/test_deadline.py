"""Reads that do not return, over fifos without a writer."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import ExitStack

import pytest
from holdfast.errors import Unreadable
from holdfast.node.proc import deadline
from holdfast.node.proc.deadline import MOST_HUNG, MOST_OF_ONE, DeadlineReads

from tests.unit.node.proc.conftest import LEAST_S


class Proc:
    """A fake /proc whose command lines are fifos: ``answer`` writes into one."""

    def __init__(self, at, stack: ExitStack) -> None:
        self.at, self._stack = at, stack
        self.fd = os.open(at, os.O_RDONLY)
        stack.callback(os.close, self.fd)
        self._fifos: dict[int, int] = {}

    def add(self, pid: int, uid: int = 1000, group: str = "/user.slice/user-1000.slice/session-1.scope") -> None:
        folder = self.at / str(pid)
        folder.mkdir()
        (folder / "status").write_text(f"Name:\tx\nUid:\t{uid}\t0\t0\t0\n")
        (folder / "cgroup").write_text(f"1:name=systemd:/x\n0::{group}\n")
        os.mkfifo(folder / "cmdline")
        self._fifos[pid] = os.open(folder / "cmdline", os.O_RDWR)  # so that opening it does not wait
        self._stack.callback(os.close, self._fifos[pid])

    def answer(self, pid: int) -> None:
        os.write(self._fifos[pid], b"postgres\0-D\0")


@pytest.fixture
def proc(tmp_path):
    with ExitStack() as stack:
        made = Proc(tmp_path, stack)
        yield made
        for pid in made._fifos:  # the helpers' threads end their reads before the descriptors go
            made.answer(pid)


@pytest.fixture
def returned():
    return queue.Queue()


@pytest.fixture
def reads(returned):
    made = DeadlineReads("/proc", returned.put)
    yield made
    made.close()


def read(reads, proc, pid, start=7):
    """Read a command line that is there; a busy machine may take long to answer."""
    return reads.read(proc.fd, f"{pid}/cmdline", 4096, (pid, start))


def unanswered(reads, proc, pid, start=7):
    """Read a command line that does not answer; it is given up as early as in production. Return the error's text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadline, "LEAST_S", LEAST_S)
        with pytest.raises(Unreadable) as caught:
            read(reads, proc, pid, start)
    return str(caught.value)


def test_a_read_that_answers_is_its_answer(reads, proc):
    proc.add(1)
    proc.answer(1)
    assert (read(reads, proc, 1), reads.unreadable, reads.hung) == (b"postgres\0-D\0", 0, 0)


def test_what_the_kernel_answers_is_raised(reads, proc):
    (proc.at / "1").mkdir()
    (proc.at / "1" / "cmdline").mkdir()
    with pytest.raises(IsADirectoryError):
        read(reads, proc, 1)
    with pytest.raises(FileNotFoundError):
        read(reads, proc, 2)


def test_a_read_that_hangs_is_given_up_once_and_tried_again_when_it_has_returned(reads, proc, returned):
    proc.add(1)
    proc.add(2)
    proc.answer(2)
    assert "process 1: its memory is locked: cmdline does not answer" in unanswered(reads, proc, 1)
    for _ in range(3):
        assert "has been since it was last asked" in unanswered(reads, proc, 1)
    assert (reads.unreadable, reads.hung) == (1, 1)
    assert read(reads, proc, 2) == b"postgres\0-D\0", "the rest is read"
    proc.answer(1)
    assert returned.get(timeout=20) == 1
    proc.answer(1)
    assert (read(reads, proc, 1), reads.unreadable) == (b"postgres\0-D\0", 0)


def test_another_process_of_the_same_number_is_another_one(reads, proc):
    proc.add(1)
    unanswered(reads, proc, 1)
    assert "cmdline does not answer" in unanswered(reads, proc, 1, start=8)


def test_processes_of_one_user_in_one_place_make_only_each_other_unreadable(reads, proc):
    for pid in range(1, MOST_OF_ONE + 2):
        proc.add(pid, group=f"/user.slice/user-1000.slice/session-1.scope/{pid}")
    proc.add(100, uid=1001)
    proc.add(101, group="/user.slice/user-1000.slice/session-2.scope")
    for pid in range(1, MOST_OF_ONE + 1):
        assert "cmdline does not answer" in unanswered(reads, proc, pid)
    assert "too many processes of its user and group" in unanswered(reads, proc, MOST_OF_ONE + 1)
    for pid in (100, 101):
        proc.answer(pid)
        assert read(reads, proc, pid)
    assert reads.unreadable == MOST_OF_ONE


UNIT = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("of", "most"),
    [
        (lambda pid: {"group": f"{UNIT}/a:b{pid}/{pid}"}, MOST_OF_ONE),
        (lambda pid: {"group": f"{UNIT}/{pid}" + "/a" * 2040}, MOST_OF_ONE),
        (lambda pid: {"group": f"{UNIT}/{pid}", "uid": 100_000 + pid}, 16),
        (lambda pid: {"group": f"/system.slice/theirs.service/{pid}"}, 32),
    ],
    ids=["colons in names", "long names", "subordinate ids", "a delegated unit"],
)
def test_who_names_groups_or_changes_users_makes_no_strangers_unreadable(reads, proc, monkeypatch, of, most):
    monkeypatch.setattr(deadline, "DEADLINE_S", 0.001)
    for pid in range(1, most + 2):
        proc.add(pid, **of(pid))
    for pid in range(1, most + 1):
        assert "cmdline does not answer" in unanswered(reads, proc, pid)
    assert "too many" in unanswered(reads, proc, most + 1)
    proc.add(100, uid=0, group="/system.slice/cron.service")
    proc.answer(100)
    assert read(reads, proc, 100)


def test_no_more_than_so_many_threads_hang(reads, proc, monkeypatch):
    monkeypatch.setattr(deadline, "DEADLINE_S", 0.001)
    for pid in range(1, MOST_HUNG + 2):
        proc.add(pid, uid=pid, group=f"/system.slice/docker-{pid}.scope")
    for pid in range(1, MOST_HUNG + 1):
        assert "cmdline does not answer" in unanswered(reads, proc, pid)
    assert "too many" in unanswered(reads, proc, MOST_HUNG + 1)
    assert reads.unreadable == MOST_HUNG


def test_helpers_end_when_it_is_closed_and_those_that_hang_when_they_return(proc):
    def helpers():
        return [thread for thread in threading.enumerate() if thread.name == "holdfast-reader" and thread not in before]

    before = set(threading.enumerate())
    reads = DeadlineReads("/proc")
    proc.add(1)
    proc.add(2)
    proc.answer(2)
    unanswered(reads, proc, 1)
    read(reads, proc, 2)
    hangs, idle = helpers()
    reads.close()
    idle.join(20)
    assert helpers() == [hangs]
    proc.answer(1)
    hangs.join(20)
    assert helpers() == []


def test_what_is_waited_in_vain_is_a_share_of_the_time(reads, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(deadline, "LEAST_S", LEAST_S)
    monkeypatch.setattr(deadline.time, "monotonic", lambda: now[0])
    reads = DeadlineReads("/proc")
    assert reads._patience_s() == deadline.DEADLINE_S
    reads._spare_s -= deadline.DEADLINE_S
    assert reads._patience_s() == deadline.LEAST_S
    now[0] += 0.5
    assert reads._patience_s() == pytest.approx(0.5 * deadline.SHARE)
    now[0] += 3600
    assert reads._patience_s() == deadline.DEADLINE_S
