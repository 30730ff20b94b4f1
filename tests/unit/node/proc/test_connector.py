"""The filter program, run by a small interpreter of classic BPF, over events as the kernel lays them out."""

import struct

import pytest
from holdfast.node.proc.connector import COMM, EXEC, FORK, MAX_FOLLOWED, UID, filter_program

EXIT = 0x80000000
OWN = 4242


def packet(what, first, second, third=0, fourth=0):
    return b"\0" * 36 + struct.pack("=IIQIIII", what, 0, 12345, first, second, third, fourth)


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
