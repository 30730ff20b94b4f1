"""Parsers of a process's files ``stat``, ``comm`` and ``status``, from bytes to values.

Each parser returns a value or raises `UnknownKernelText`, whatever the bytes (tests/unit/node/proc/test_parse.py).
"""

from __future__ import annotations

import os

from msgspec import Struct

from holdfast import kernel_text

_PF_KTHREAD = 0x00200000  # include/linux/sched.h
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
COMM_BYTES = 16  # 15 and a newline; a kernel thread's may be longer, and its first 16 are no other process's name


class StatLine(Struct, frozen=True):
    """The values that ``stat`` alone gives.

    ``headless``: the first thread has ended and others have not (pthread_exit(3)). The process lives, and only the
    files of the other threads have its program, memory and groups: see `reader`.
    """

    pid: int
    comm: str
    ppid: int
    start_ticks: int
    kernel_thread: bool
    rss_pages: int
    threads: int
    ended: bool = False  # a zombie: only its pid is left
    headless: bool = False
    thread: int = 0  # of a headless process: a thread that lives, if one was found


def parse_stat(pid: int, stat: bytes) -> StatLine:
    """Parse proc_pid_stat(5). The name may have any byte, ``) Z`` and newlines too: fields count from the last ``)``.

    Raises:
        UnknownKernelText: a field is missing, or is not a number.
    """
    # 4242 (foo) Z) S 1 4242 4242 0 -1 4194304 …
    try:
        end = stat.rindex(b")")
        rest = stat[end + 2 :].split(b" ", 22)
        comm = kernel_text.shared(stat[stat.index(b"(") + 1 : end])
        threads, is_zombie = int(rest[17]), rest[0] in (b"Z", b"X")
        return StatLine(
            pid,
            comm,
            int(rest[1]),
            int(rest[19]),
            bool(int(rest[6]) & _PF_KTHREAD),
            int(rest[21]),
            threads,
            is_zombie and threads < 2,
            is_zombie and threads >= 2,
        )
    except (ValueError, IndexError):
        raise kernel_text.malformed(f"stat of process {pid}") from None


def name_and_parent(stat: bytes) -> tuple[bytes, int]:
    """Parse only the name, as `printed`, and the parent: most processes fall under no rule.

    Raises:
        UnknownKernelText: one of them is missing.
    """
    try:
        end = stat.rindex(b")")
        return (stat[stat.index(b"(") + 1 : end] + b"\n")[:COMM_BYTES], int(stat[end + 4 : stat.index(b" ", end + 4)])
    except ValueError:
        raise kernel_text.malformed("stat of a process") from None


def is_zombie(stat: bytes) -> bool:
    """Whether the first thread has ended: the process, or a headless one."""
    end = stat.rfind(b")")
    return stat[end + 2 : end + 3] in (b"Z", b"X")


def printed(comm: str) -> bytes:
    """A name as a rescan reads it from ``comm``: with its newline, cut to `COMM_BYTES`."""
    return (kernel_text.encode(comm) + b"\n")[:COMM_BYTES]


def parse_status(status: bytes) -> tuple[tuple[int, int, int], int, int, int]:
    """Parse real, effective and saved uid, then resident, swapped and page-table pages from proc_pid_status(5).

    0 where a line is missing: kernel threads and zombies have no Vm lines. The name is on the first line, its newlines
    escaped by the kernel.

    Raises:
        UnknownKernelText: a field is not a number.
    """
    # Uid:	0	0	0	0 … VmRSS:	    5104 kB … VmPTE:	      56 kB … VmSwap:	       0 kB
    try:
        uids = parse_uids(status)
        rss, swap, tables = (_kib(status, key) // _PAGE_KIB for key in (b"\nVmRSS:", b"\nVmSwap:", b"\nVmPTE:"))
        return uids, rss, swap, tables
    except (ValueError, IndexError):
        raise kernel_text.malformed("status of a process") from None


def parse_uids(status: bytes) -> tuple[int, int, int]:
    """Parse real, effective and saved uid from proc_pid_status(5); 0 where the line is missing.

    Raises:
        UnknownKernelText: a field is not a number.
    """
    try:
        uid = status.find(b"\nUid:\t")
        words = status[uid + 6 : status.find(b"\n", uid + 6)].split(b"\t") if uid >= 0 else (b"0", b"0", b"0")
        return int(words[0]), int(words[1]), int(words[2])
    except (ValueError, IndexError):
        raise kernel_text.malformed("status of a process") from None


def _kib(status: bytes, key: bytes) -> int:
    at = status.find(key)
    return int(status[at + len(key) : status.find(b"k", at + len(key))]) if at >= 0 else 0
