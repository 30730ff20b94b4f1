"""What the kernel log says of an OOM kill: whom, out of which domain, and who stood where at that moment.

Before it kills, the kernel prints the table it chose from (unless vm.oom_dump_tasks is 0 or it printed ten within
five seconds), so "what stood next in line" is the kernel's own numbers and not a guess made later. Sources:
mm/oom_kill.c (dump_tasks, dump_oom_victim), mm/memcontrol.c, Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator

from msgspec import Struct, field

from holdfast.errors import Unavailable
from holdfast.late import regex
from holdfast.node.model.memory_domain import Kill, MemoryDomain, Standing
from holdfast.node.model.process import HostFacts, Process
from holdfast.node.oom.victim import rank

_KEPT_STANDINGS = 5
_BATCH = 256  # records of one read, a millisecond: exec events are served before the next
_SAME_KILL_NS = 1_000_000_000
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024

# Tasks state (memory values in pages):
# [  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name
# [  24351]     0 24351    18790    17923    16288     1635         0   188416        0             0 python3
_HEADER = regex(r"\[\s*pid\s*\]\s+(.*)\Z")
_ROW = regex(r"\[\s*(\d+)\]\s+(.*)\Z")
# memory: usage 65536kB, limit 65536kB, failcnt 21
_LIMIT = regex(r"(memory|memory\+swap|swap): usage (\d+)kB, limit (\d+)kB")
# oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,
# task=x,pid=1,uid=0 (one line; of the node: global_oom in place of oom_memcg=)
_SUMMARY = regex(
    r"oom-kill:constraint=(?P<constraint>\w+),.*?(?:,oom_memcg=(?P<domain>.*?)|,global_oom)?"
    r",task_memcg=(?P<group>.*),task=(?P<comm>.*),pid=(?P<pid>\d+),uid=\d+\Z"
)
# Memory cgroup out of memory: Killed process 24351 (python3) total-vm:75160kB, anon-rss:65152kB, file-rss:6540kB,
# shmem-rss:0kB, UID:0 pgtables:184kB oom_score_adj:0
_KILLED = regex(
    r"(?P<why>.*): Killed process (?P<pid>\d+) \((?P<comm>.*)\) total-vm:\d+kB, anon-rss:(?P<anon>\d+)kB, "
    r"file-rss:(?P<file>\d+)kB, shmem-rss:(?P<shmem>\d+)kB(?:, UID:(?P<uid>\d+))?.*?(?:oom_score_adj:(?P<adj>-?\d+))?\Z"
)
# Tasks in /a are going to be killed due to memory.oom.group set
_WHOLE_GROUP = regex(r"Tasks in .* are going to be killed due to memory\.oom\.group set\Z")
_OUT_OF_MEMORY = regex(r".* invoked oom-killer: ")


class _Dump(Struct):
    """What was printed since somebody invoked the OOM killer."""

    columns: tuple[str, ...] = ()
    rows: list[Process] = field(default_factory=list)
    limits_kib: dict[str, int] = field(default_factory=dict)
    domain: str = ""
    group: str = ""
    of_pid: int = 0
    whole_group: bool = False


class KillParser:
    """Fed the kernel log line by line, in order; answers with a `Kill` when one is complete."""

    def __init__(self, host: HostFacts) -> None:
        self._host = host
        self._dump = _Dump()
        self._told: dict[int, int] = {}

    def feed(self, text: str, at_ns: int) -> Kill | None:
        """One line without its prefix, and the Unix time it was written at."""
        if _OUT_OF_MEMORY.match(text):
            self._dump = _Dump()
        elif header := _HEADER.match(text):
            self._dump.columns = tuple(header[1].split())
        elif (row := _ROW.match(text)) and self._dump.columns:
            self._add_row(int(row[1]), row[2])
        elif limit := _LIMIT.match(text):
            self._dump.limits_kib[limit[1]] = int(limit[3])
        elif summary := _SUMMARY.match(text):
            self._dump.domain = summary["domain"] or "/"
            self._dump.group = summary["group"]
            self._dump.of_pid = int(summary["pid"])
        elif _WHOLE_GROUP.match(text):
            self._dump.whole_group = True
        elif (killed := _KILLED.match(text)) and not self._is_told_again(int(killed["pid"]), at_ns):
            return self._kill(killed, at_ns)
        return None

    def _is_told_again(self, pid: int, at_ns: int) -> bool:
        """A group kill (memory.oom.group) names its first victim a second time, among all of its group."""
        told, self._told[pid] = self._told.get(pid), at_ns
        self._told = {other: then for other, then in self._told.items() if at_ns - then < _SAME_KILL_NS}
        return told is not None and at_ns - told < _SAME_KILL_NS

    def _add_row(self, pid: int, text: str) -> None:
        columns = self._dump.columns
        words = text.split(None, len(columns) - 1)  # the name is last and may hold spaces
        values = dict(zip(columns, words, strict=False))
        with contextlib.suppress(ValueError, KeyError):  # a line of somebody else that looks like a row
            self._dump.rows.append(
                Process(
                    pid,
                    0,
                    0,
                    values["name"],
                    uid=int(values["uid"]),
                    oom_score_adj=int(values["oom_score_adj"]),
                    rss_pages=int(values["rss"]),
                    swap_pages=int(values["swapents"]),
                    page_table_pages=int(values["pgtables_bytes"]) // self._host.page_bytes,
                )
            )

    def _kill(self, killed: re.Match[str], at_ns: int) -> Kill:
        dump, pid = self._dump, int(killed["pid"])
        of_memcg = killed["why"].startswith("Memory cgroup")
        # the kernel prints at most ten tables in five seconds: then the last one is about somebody else
        known = dump.of_pid == pid or (dump.whole_group and of_memcg)
        standings = self._standings() if known else ()
        return Kill(
            at_ns,
            pid,
            killed["comm"],
            int(killed["uid"] or 0),
            dump.domain if known and of_memcg else "" if of_memcg else "/",
            dump.group if dump.of_pid == pid else "",
            sum(int(killed[part]) for part in ("anon", "file", "shmem")) // _PAGE_KIB,
            int(killed["adj"] or 0),
            predicted=standings,
            looked_at_ns=at_ns if standings else 0,
        )

    def _standings(self) -> tuple[Standing, ...]:
        """The kernel's own table, ranked by its own arithmetic."""
        dump = self._dump
        pages, swap = self._host.memory_pages, self._host.swap_pages
        if dump.domain != "/" and "memory" in dump.limits_kib:
            pages = dump.limits_kib["memory"] // _PAGE_KIB
            if "memory+swap" in dump.limits_kib:
                swap = min(swap, max(0, dump.limits_kib["memory+swap"] // _PAGE_KIB - pages))
            elif "swap" in dump.limits_kib:
                swap = min(swap, dump.limits_kib["swap"] // _PAGE_KIB)
        ranking = rank(dump.rows, MemoryDomain("/", pages, swap), self._host)
        return tuple(
            Standing(c.process.pid, c.process.comm, c.points, c.oom_score_adj)
            for c in ranking.candidates[:_KEPT_STANDINGS]
            if c.points is not None
        )


class Line(Struct, frozen=True):
    """One record of the kernel log: its number since boot, when (Unix time), and the text."""

    number: int
    at_ns: int
    text: str


class KernelLog:
    """``/dev/kmsg``, read without blocking. `fileno` becomes readable when there is more."""

    def __init__(self, path: str, after: int = -1) -> None:
        """Open it at the first record after number ``after`` that is still kept.

        Raises:
            Unavailable: it cannot be read (CAP_SYSLOG with kernel.dmesg_restrict, or the device is not there). In a pod
                the capability and a mount are not enough: the runtime's device rules keep it closed.
        """
        self._after = after
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            remedy = "privileged in the pod, --device /dev/kmsg --cap-add SYSLOG for docker, root elsewhere"
            raise Unavailable(f"kernel log {path}: {why}; {remedy}") from error

    def fileno(self) -> int:
        """For poll."""
        return self._fd

    def read(self) -> Iterator[Line]:
        """What was not read yet, oldest first; some of it. Records the ring buffer overwrote meanwhile are skipped."""
        offset_ns = time.time_ns() - time.monotonic_ns()
        for _ in range(_BATCH):
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten before we read it: the next read goes on after the gap
                    continue
                raise
            if not record:
                return
            # 3,423,3190765912,-;Memory cgroup out of memory: …\n SUBSYSTEM=…\n
            prefix, _, body = record.partition(b";")
            words = prefix.split(b",")
            number = int(words[1])
            if number > self._after:
                self._after = number
                text = body.split(b"\n", 1)[0].decode(errors="replace")
                yield Line(number, offset_ns + int(words[2]) * 1000, text)

    def close(self) -> None:
        """Close the device."""
        os.close(self._fd)
