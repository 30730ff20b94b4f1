"""The filter program, run by a small interpreter of classic BPF, over events as the kernel lays them out."""

import errno
import struct
import time

import pytest
from holdfast.node.proc.connector import (
    COMM,
    EXEC,
    FORK,
    MAX_FOLLOWED,
    MOST_MUTED,
    UID,
    EventsLost,
    ForkLog,
    ProcessEvents,
    _Gap,
    filter_program,
)

EXIT = 0x80000000
OWN = 4242


def packet(what, first, second, third=0, fourth=0, at_ns=12345):
    return b"\0" * 36 + struct.pack("=IIQIIII", what, 0, at_ns, first, second, third, fourth)


def accepts(program, data):
    at = accumulator = index = 0
    for _ in range(4096):
        code, jump_true, jump_false, operand = program[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("!I", data, operand)[0]
        elif code == 0x07:
            index = accumulator
        elif code == 0x15:
            at += jump_true if accumulator == operand else jump_false
        elif code == 0x1D:
            at += jump_true if accumulator == index else jump_false
        elif code == 0x06:
            return operand != 0
        else:
            raise AssertionError(f"unknown code {code:#x}")
    raise AssertionError("the program does not end")


@pytest.mark.parametrize("kinds", [EXEC | COMM, EXEC | COMM | UID, EXEC | COMM | FORK, EXEC | COMM | UID | FORK])
def test_an_exec_always_passes_and_an_exit_never(kinds):
    program = filter_program(kinds, {77}, OWN)
    assert accepts(program, packet(EXEC, 5, 5))
    assert accepts(program, packet(EXEC, 6, 5))
    assert not accepts(program, packet(EXIT, 5, 5))


def test_a_process_that_renames_itself_passes_and_its_threads_do_not():
    program = filter_program(EXEC | COMM, (), OWN)
    assert accepts(program, packet(COMM, 5, 5))
    assert not accepts(program, packet(COMM, 6, 5))


def test_our_own_threads_renaming_passes_because_it_is_the_heartbeat():
    assert accepts(filter_program(EXEC | COMM, (), OWN), packet(COMM, 4300, OWN))


def test_a_change_of_uid_passes_only_when_asked_for():
    assert not accepts(filter_program(EXEC | COMM, (), OWN), packet(UID, 5, 5))
    assert accepts(filter_program(EXEC | COMM | UID, (), OWN), packet(UID, 5, 5))
    assert not accepts(filter_program(EXEC | COMM | UID, (), OWN), packet(UID, 6, 5))


@pytest.mark.parametrize("followed", [{77}, {3, 77, 500}, set(range(77, 77 + MAX_FOLLOWED))])
def test_a_fork_passes_by_its_parent_and_a_new_thread_never(followed):
    program = filter_program(EXEC | COMM | FORK, followed, OWN)
    assert accepts(program, packet(FORK, 78, 77, 900, 900))
    assert not accepts(program, packet(FORK, 2, 2, 900, 900))
    assert not accepts(program, packet(FORK, 77, 77, 901, 77))


def test_no_fork_passes_when_nobody_is_followed():
    assert not accepts(filter_program(EXEC | COMM, (), OWN), packet(FORK, 77, 77, 900, 900))


def test_beyond_what_the_program_can_hold_every_fork_passes():
    program = filter_program(EXEC | COMM | FORK, set(range(1000, 1001 + MAX_FOLLOWED)), OWN)
    assert accepts(program, packet(FORK, 2, 2, 900, 900))
    assert not accepts(program, packet(FORK, 2, 2, 901, 2))


def test_every_followed_parent_is_found_wherever_it_stands_in_the_program():
    followed = set(range(1000, 1000 + MAX_FOLLOWED))
    program = filter_program(EXEC | COMM | FORK, followed, OWN)
    assert all(accepts(program, packet(FORK, pid, pid, 9, 9)) for pid in followed)
    assert len(program) <= 4096
    assert all(0 <= jump <= 255 for _, a, b, _ in program for jump in (a, b))


@pytest.mark.parametrize("followed", [(), {77}, set(range(77, 77 + MAX_FOLLOWED))])
def test_of_a_muted_process_nothing_passes_and_everything_of_others(followed):
    muted = [*range(1000, 1000 + MOST_MUTED - 1), 77]
    program = filter_program(EXEC | COMM | UID | FORK, followed, OWN, muted)
    for pid in (1000, muted[-2], 77):
        for what in (EXEC, COMM, UID):
            assert not accepts(program, packet(what, pid, pid))
        assert not accepts(program, packet(FORK, pid, pid, 5, 5))
    for what in (EXEC, COMM, UID):
        assert accepts(program, packet(what, 5, 5))
    assert accepts(program, packet(FORK, 78, 78, 5, 5)) == (followed != {77})


class Socket:
    """Read a socket with these in it; an error is raised once, and empty it would block."""

    def __init__(self, *waiting):
        self.waiting = list(waiting)

    def recv(self, size, flags=0):
        if not self.waiting:
            raise BlockingIOError
        first = self.waiting.pop(0)
        if isinstance(first, int):
            raise OSError(first, "")
        return first


def reading(kind, *waiting):
    """A subscription of this kind whose socket has these in it."""
    made = kind.__new__(kind)
    made._socket, made._gap, made._followed = Socket(*waiting), _Gap(), frozenset()
    made._read = made._found = []
    return made


OLD, YOUNG = 1, time.monotonic_ns() + 10**15


@pytest.mark.parametrize(
    ("kind", "what", "seen"),
    [(ProcessEvents, EXEC, lambda event: event.pid), (ForkLog, FORK, lambda pair: pair[1])],
)
def test_events_are_lost_until_all_that_the_kernel_kept_was_read_and_that_is_said_only_then(kind, what, seen):
    old = [packet(what, at, at, at, at, at_ns=OLD) for at in (5, 6)]
    events = reading(kind, errno.ENOBUFS, *old)
    with pytest.raises(EventsLost):
        events.read()
    assert events._socket.waiting == []
    assert [seen(one) for one in events.read()] == [5, 6]
    assert list(events.read()) == []
    events = reading(kind, errno.ENOBUFS, *old, packet(what, 7, 7, 7, 7, at_ns=YOUNG), old[0])
    with pytest.raises(EventsLost):
        events.read()
    assert len(events._socket.waiting) == 1, "the young one says it"
    assert [seen(one) for one in events.read()] == [5, 6, 7, 5]


def test_another_error_is_none_of_lost_events():
    with pytest.raises(OSError, match="9"):
        reading(ProcessEvents, errno.EBADF).read()


def test_what_a_heartbeat_learns_of_lost_events_is_not_forgotten(tmp_path):
    (tmp_path / "thread-self").mkdir()
    (tmp_path / "thread-self/comm").write_text("x\n")
    events = reading(ProcessEvents, errno.ENOBUFS)
    events._proc_root = str(tmp_path)
    assert events.heartbeat()
    with pytest.raises(EventsLost):
        events.read()
