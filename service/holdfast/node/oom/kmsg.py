"""OOM kills in the kernel log: the process killed, its memory domain, and the ranking at that moment.

Theory
------
* Before it kills, the kernel prints the table it chose from (unless vm.oom_dump_tasks is 0 or it printed ten within
  five seconds), so the ranking is the kernel's own numbers and not a guess made later.
* Only records of facility kern count. A program may write to ``/dev/kmsg``, and the kernel marks its records.
* Processes and groups choose a part of a line: a name may have any byte, a path may end in ``,task=sshd,pid=1``. So the
  parser starts from the text that the kernel prints at a line's ends, two names in one line must fit each other (a
  victim's group is within the domain), and where two readings fit, the place is not known.

The forms, by kernel (mm/oom_kill.c, mm/memcontrol.c; Red Hat's 3.10 differs):

=============== ===================================================================================================
3.10 to 5.0     ``… Kill process 7 (java) score 903 or sacrifice child``, then ``Killed process 7 (java) total-vm:…``
  of them RHEL  ``Killed process 7 (java), UID 1001, total-vm:…``
  a domain      ``Task in /a/b killed as a result of limit of /a`` (before 5.0)
  the table     ``nr_ptes`` (3.10), ``nr_ptes nr_pmds`` (4.0), ``pgtables_bytes`` (4.15) for the page tables
4.5             ``, shmem-rss:…``
4.19            ``Tasks in /a are going to be killed due to memory.oom.group set``
5.0             ``oom-kill:constraint=…,oom_memcg=/a,task_memcg=/a/b,task=java,pid=7,uid=1001``
5.1             ``Out of memory: Killed process 7 (java) total-vm:…``: no other line names the victim
5.4             ``…, UID:1001 pgtables:…kB oom_score_adj:0``
6.8             ``rss_anon rss_file rss_shmem`` in the table
=============== ===================================================================================================

Sources: those files, Documentation/ABI/testing/dev-kmsg, kernel/printk/printk.c.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from holdfast import kernel_text
from holdfast.errors import Unavailable, reason_of
from holdfast.node.model.memory_domain import Kill, MemoryDomain, RankedProcess
from holdfast.node.model.process import HostFacts, Process
from holdfast.node.oom.victim import rank

_KEPT_STANDINGS = 5
_BATCH = 256  # records of one read, a millisecond: exec events are served before the next
_SAME_KILL_NS = 1_000_000_000
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_MOST_ROWS = 65_536  # processes of one table; of a longer one nothing is kept
_KERNEL = 0  # LOG_KERN: a program that writes to the device is another facility, whatever it says
_RECORD_BYTES = 8192  # size of one record; CONSOLE_EXT_LOG_MAX in kernel/printk/printk.c

# Tasks state (memory values in pages):
# [  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name
# [  24351]     0 24351    18790    17923    16288     1635         0   188416        0             0 python3
_HEADER = re.compile(r"\[ *pid *\] +([a-z_ ]+ name)\Z")
_ROW = re.compile(r"\[ *(\d{1,10})\]( .*)\Z", re.ASCII | re.DOTALL)
_NUMBER = re.compile(r" *(-?\d{1,20}) ", re.ASCII)
# memory: usage 65536kB, limit 65536kB, failcnt 21
_LIMIT = re.compile(r"(memory|memory\+swap|swap): usage \d{1,20}kB, limit (\d{1,20})kB", re.ASCII)
_SUMMARY = "oom-kill:constraint="
_SUMMARY_END = re.compile(r",pid=(?P<pid>\d{1,10}),uid=\d{1,10}\Z", re.ASCII)
_MEMS_ALLOWED = re.compile(r",mems_allowed=[0-9,-]*\Z")
_WHY = r"(?:(?P<why>(?:Out|Memory cgroup out) of memory(?: \(oom_kill_allocating_task\))?): )"
_CHOSEN = re.compile(_WHY + r"Kill process (?P<pid>\d{1,10}) \((?s:.*)\) score \d+ or sacrifice child\Z", re.ASCII)
# Memory cgroup out of memory: Killed process 24351 (python3) total-vm:75160kB, anon-rss:65152kB, file-rss:6540kB,
# shmem-rss:0kB, UID:0 pgtables:184kB oom_score_adj:0
_KILLED = re.compile(
    _WHY + r"?Killed process (?P<pid>\d{1,10}) \((?P<comm>(?s:.*))\)(?:, UID (?P<redhat>\d{1,10}),)? total-vm:\d+kB, "
    r"anon-rss:(?P<anon>\d{1,20})kB, file-rss:(?P<file>\d{1,20})kB(?:, shmem-rss:(?P<shmem>\d{1,20})kB)?"
    r"(?:, UID:(?P<uid>\d{1,10}))?(?: pgtables:\d+kB)?(?: oom_score_adj:(?P<adj>-?\d{1,4}))?\Z",
    re.ASCII,
)
_TASK_IN, _OF_LIMIT = "Task in ", " killed as a result of limit of "
_WHOLE_GROUP = re.compile(r"Tasks in (?s:.*) are going to be killed due to memory\.oom\.group set\Z")
_INVOKED = re.compile(r"(?s:.{1,15}) invoked oom-killer: gfp_mask=")
_PREFIX = re.compile(rb"(?P<level>\d{1,4}),(?P<number>\d{1,20}),(?P<us>\d{1,20}),(?P<flags>[^,;]*)[^;]*\Z")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


class KillPlace(Struct, frozen=True):
    """The memory domain that ran out, and the victim's group in it; empty: not known."""

    domain: str = ""
    group: str = ""


class _Dump(Struct):
    """The lines printed since the OOM killer was invoked last. ``of_pid`` is the process it chose.

    ``why`` is from the line that announces a kill before 5.1, until the kill.
    """

    columns: tuple[str, ...] = ()
    rows: dict[int, Process] = field(default_factory=dict)
    limits_kib: dict[str, int] = field(default_factory=dict)
    summary: str = ""
    place: KillPlace = KillPlace()
    why: str = ""
    of_pid: int = 0
    whole_group: bool = False


class KillParser:
    """Takes the kernel log line by line, in order; returns a `Kill` when one is complete."""

    def __init__(self, host: HostFacts) -> None:
        self._host = host
        self._dump = _Dump()
        self._told: dict[int, int] = {}

    def feed(self, text: str, at_ns: int) -> Kill | None:
        """Take one line without its prefix, and its Unix time; return the `Kill` that it completes, or None."""
        dump = self._dump
        if header := _HEADER.match(text):
            dump.columns = tuple(header[1].split())
        elif dump.columns and (row := _ROW.match(text)):
            self._add_row(int(row[1]), row[2])
        elif limit := _LIMIT.match(text):
            dump.limits_kib[limit[1]] = int(limit[2])
        elif text.startswith(_SUMMARY):
            self._summarise(text)
        elif text.startswith(_TASK_IN):
            pairs = _splits(text.removeprefix(_TASK_IN), _OF_LIMIT)
            dump.place = _only(KillPlace(domain, group) for group, domain in pairs)
        elif chosen := _CHOSEN.match(text):
            self._choose(int(chosen["pid"]), chosen["why"])
        elif _WHOLE_GROUP.match(text):
            dump.whole_group = True
        elif _INVOKED.match(text):
            self._dump = _Dump()
        elif (killed := _KILLED.match(text)) and not self._is_told_again(int(killed["pid"]), at_ns):
            return self._kill(killed, at_ns)
        return None

    def _is_told_again(self, pid: int, at_ns: int) -> bool:
        """Whether a line repeats a kill: a group kill (memory.oom.group) names its first victim a second time.

        The second line is among those of all processes of its group.
        """
        told, self._told[pid] = self._told.get(pid), at_ns
        self._told = {other: then for other, then in self._told.items() if at_ns - then < _SAME_KILL_NS}
        return told is not None and at_ns - told < _SAME_KILL_NS

    def _add_row(self, pid: int, text: str) -> None:
        """Add one process: a number for each column, a blank, and the name, which may begin with numbers and blanks."""
        dump, values, at = self._dump, dict[str, int](), 0
        for column in dump.columns[:-1]:
            word = _NUMBER.match(text, at)
            if word is None:  # a line of another driver that looks like a row
                return
            values[column], at = int(word[1]), word.end()
        if not {"uid", "rss", "swapents", "oom_score_adj"} <= values.keys():
            return
        if len(dump.rows) >= _MOST_ROWS:  # then the ranking is not known
            dump.rows, dump.columns = {}, ()
            return
        dump.rows[pid] = Process(
            pid,
            0,
            0,
            text[at:],
            uid=values["uid"],
            oom_score_adj=values["oom_score_adj"],
            rss_pages=values["rss"],
            swap_pages=values["swapents"],
            page_table_pages=values.get("pgtables_bytes", 0) // self._host.page_bytes
            + sum(values.get(column, 0) for column in ("nr_ptes", "nr_pmds", "nr_puds")),
        )

    def _summarise(self, text: str) -> None:
        """Take the summary line (since 5.0): its pid is the kernel's; the text before it is read with the name."""
        end = _SUMMARY_END.search(text)
        if end:
            self._dump.summary, self._dump.of_pid = text[: end.start()], int(end["pid"])

    def _choose(self, pid: int, why: str) -> None:
        """Take an announced kill (before 5.1). One of another pid has no dump: only ten in five seconds are printed."""
        if self._dump.of_pid not in (0, pid):
            self._dump = _Dump()
        self._dump.of_pid, self._dump.why = pid, why

    def _kill(self, killed: re.Match[str], at_ns: int) -> Kill:
        dump, pid = self._dump, int(killed["pid"])
        why = killed["why"] or dump.why or ("Memory cgroup" if dump.whole_group else "")
        of_memcg = why.startswith("Memory cgroup")
        # Announced: before 5.1 a child may die in place of the chosen one, of the same domain, in a group not printed.
        announced = not killed["why"] and bool(dump.why)
        dump.why = ""
        known = dump.of_pid == pid or announced or (dump.whole_group and of_memcg)
        if dump.of_pid == pid and dump.summary.endswith(tail := f",task={killed['comm']}"):
            dump.place = _place_of(dump.summary.removesuffix(tail))
        row = dump.rows.get(pid) if known else None
        standings = self._standings(dump.place.domain) if known else ()
        return Kill(
            at_ns,
            pid,
            killed["comm"],
            int(killed["uid"] or killed["redhat"] or (row.uid if row else 0)),
            (dump.place.domain if known else "") if of_memcg or not why else "/",
            dump.place.group if dump.of_pid == pid else "",
            sum(int(killed[part] or 0) for part in ("anon", "file", "shmem")) // _PAGE_KIB,
            int(killed["adj"] or (row.oom_score_adj if row else 0)),
            predicted=standings,
            looked_at_ns=at_ns if standings else 0,
            limit_pages=dump.limits_kib.get("memory", 0) // _PAGE_KIB if known and of_memcg else 0,
        )

    def _standings(self, domain: str) -> tuple[RankedProcess, ...]:
        """Rank the kernel's own table by the kernel's own arithmetic."""
        dump = self._dump
        pages, swap = self._host.memory_pages, self._host.swap_pages
        if domain != "/" and "memory" in dump.limits_kib:
            pages = dump.limits_kib["memory"] // _PAGE_KIB
            if "memory+swap" in dump.limits_kib:
                swap = min(swap, max(0, dump.limits_kib["memory+swap"] // _PAGE_KIB - pages))
            elif "swap" in dump.limits_kib:
                swap = min(swap, dump.limits_kib["swap"] // _PAGE_KIB)
        ranking = rank(dump.rows.values(), MemoryDomain("/", pages, swap), self._host)
        return tuple(
            RankedProcess(c.process.pid, c.process.comm, c.points, c.oom_score_adj)
            for c in ranking.candidates[:_KEPT_STANDINGS]
            if c.points is not None
        )


def _place_of(summary: str) -> KillPlace:
    """The place in the summary, which is cut before ``,task=``.

    The cpuset's name, before the places, is a group's choice as well, and may end in places of its own.
    """
    # oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0-1,oom_memcg=/a,task_memcg=/a/b
    # oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=x,mems_allowed=0,global_oom,task_memcg=/a/b
    if not summary.startswith(f"{_SUMMARY}CONSTRAINT_MEMCG,"):
        return _only(
            KillPlace("/", group)
            for before, group in _splits(summary, ",global_oom,task_memcg=")
            if _MEMS_ALLOWED.search(before)
        )
    return _only(
        KillPlace(domain, group)
        for before, places in _splits(summary, ",oom_memcg=")
        if _MEMS_ALLOWED.search(before)
        for domain, group in _splits(places, ",task_memcg=")
    )


def _splits(text: str, separator: str) -> Iterator[tuple[str, str]]:
    """Yield every way to split ``text`` in two at the separator."""
    at = text.find(separator)
    while at >= 0:
        yield text[:at], text[at + len(separator) :]
        at = text.find(separator, at + 1)


def _only(places: Iterable[KillPlace]) -> KillPlace:
    """The only possible place: both are paths, the group within the domain. Not known where several are possible."""
    found = {
        place for place in places if place.group.startswith("/") and MemoryDomain(place.domain, 0).contains(place.group)
    }
    return found.pop() if len(found) == 1 else KillPlace()


class Line(Struct, frozen=True):
    """One record of the kernel log: its number since boot, its Unix time, and its text."""

    number: int
    at_ns: int
    text: str


class Record(Struct, frozen=True):
    """A record as the device hands it out. ``us`` microseconds since boot, ``facility`` 0 is the kernel's own.

    ``begins`` and ``goes_on``: a piece of a line that the kernel could not keep in one record (before 4.10).
    """

    facility: int
    number: int
    us: int
    text: str
    begins: bool = False
    goes_on: bool = False


def parse_record(record: bytes) -> Record | None:
    """Parse one read of ``/dev/kmsg``; None when it is not a record.

    The device writes a backslash, a control character and every byte above 0x7e as ``\\xNN``.
    """
    # 3,423,3190765912,-;Memory cgroup out of memory: …\n SUBSYSTEM=…\n
    prefix, _, body = record.partition(b";")
    words = _PREFIX.match(prefix)
    if words is None:
        return None
    text = _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), body.split(b"\n", 1)[0])
    flags = words["flags"]
    return Record(
        int(words["level"]) >> 3,
        int(words["number"]),
        int(words["us"]),
        kernel_text.decode(text),
        flags == b"c",
        flags == b"+",
    )


class KernelLog:
    """``/dev/kmsg``, read without blocking: the kernel's own records. `fileno` becomes readable with new ones.

    The time of a record is of a clock that runs apart from the system's, by milliseconds in a day or by seconds. So
    the number of a record shows whether it was there already when the log was opened. The device does not give the
    number of the last record; a second descriptor, which stays at the end of that moment, has the first one after it.
    """

    def __init__(self, path: str, after: int = -1) -> None:
        """Open the device at the first record after number ``after`` that is still kept.

        Raises:
            Unavailable: it cannot be read (CAP_SYSLOG with kernel.dmesg_restrict, or the device is not there). In a pod
                the capability and a mount are not enough: the runtime's device rules keep it closed.
        """
        self._after = after
        self._begun = ""
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            remedy = "privileged in the pod, --device /dev/kmsg --cap-add SYSLOG for docker, root elsewhere"
            raise Unavailable(f"kernel log {path}: {reason_of(error)}; {remedy}") from error
        self._end, self._first_new = _opened_at_end(path), 0

    def is_past(self, number: int) -> bool:
        """Whether the record with this number, which was read, was there when the log was opened."""
        while self._end >= 0:
            try:
                record = parse_record(os.read(self._end, _RECORD_BYTES))
            except BlockingIOError:
                return True  # none came since
            except OSError as error:
                if error.errno == errno.EPIPE:  # those that came first were overwritten
                    continue
                raise
            if record is not None:
                self._first_new = record.number
                os.close(self._end)
                self._end = -1
        return number < self._first_new

    def fileno(self) -> int:
        """The descriptor for poll."""
        return self._fd

    def read(self) -> Iterator[Line]:
        """Yield unread records, oldest first, some of them. Records the ring buffer overwrote meanwhile are skipped.

        So are records that a program wrote, and pieces of a line: one may begin with a group's name, which may look
        like a kill. Only the lines that the OOM killer itself prints in pieces are joined, and each piece yields the
        line so far.
        """
        offset_ns = time.time_ns() - time.monotonic_ns()
        for _ in range(_BATCH):
            try:
                data = os.read(self._fd, _RECORD_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten before we read it: the next read goes on after the gap
                    continue
                raise
            if not data:
                return
            record = parse_record(data)
            if record is None or record.number <= self._after or record.facility != _KERNEL:
                continue
            self._after = record.number
            text = (self._begun if record.goes_on else "") + record.text
            self._begun = text[:_RECORD_BYTES] if record.begins or record.goes_on else ""
            if self._begun and not text.startswith((_TASK_IN, _SUMMARY)):
                continue
            yield Line(record.number, offset_ns + record.us * 1000, text)

    def close(self) -> None:
        """Close the device."""
        os.close(self._fd)
        if self._end >= 0:
            os.close(self._end)


def _opened_at_end(path: str) -> int:
    """Open the device after its last record; -1 for a file that has no end to go to (a pipe)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.lseek(descriptor, 0, os.SEEK_END)
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor
