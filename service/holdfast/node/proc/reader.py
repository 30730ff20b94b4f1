"""Read processes: first one file of each, and the rest only for a process that may fall under a rule.

Measured per process on 6.18: ``stat`` 12 µs, ``oom_score_adj`` 9, ``cgroup`` 15, ``status`` 16-20, ``cmdline`` 13; the
kernel takes all but 10 % of it, so a C program would gain nothing. Two things cost more: ``open().read()`` takes three
times as long as ``os.open`` + ``os.read``, and psutil two to four times.

The same code reads through ``/proc`` by pid (a rescan, cheap) and through the descriptor of one process (before a
write, safe): a directory descriptor and a prefix, ``"4242/"`` or ``""``.

A process whose first thread has ended reads like a zombie, although it lives: no program, no memory, on v1 no groups.
It is read through another thread (``"4242/task/4243/"``). Where none is found in time, its program and groups are not
known; its users and value are, because the first thread's files keep these.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from holdfast import kernel_text
from holdfast.cgroups import parse_groups
from holdfast.errors import KernelRefused, ProcessGone, Unreadable
from holdfast.node.model.process import Held, Lineage, PodFacts, PodLookup, Process, Wants
from holdfast.node.proc.children import children_of
from holdfast.node.proc.deadline import DeadlineReads
from holdfast.node.proc.parse import (
    COMM_BYTES,
    StatLine,
    is_zombie,
    name_and_parent,
    parse_stat,
    parse_status,
    parse_uids,
)
from holdfast.process import OpenProcess, ProcRoot, oomscore

_PAGE = 4096  # bytes that a first read asks for
_STAT_BYTES = 1024  # 52 numbers of a few digits each and a name of 15 to 64 bytes
_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC
CMDLINE_BYTES = 4096  # of a longer command line the rest is neither matched against nor shown
LONGEST_CACHED = 4096  # bytes of ``cgroup``: a nested runtime's may be 13 times that, and is parsed each time
MOST_THREADS = 32  # of a headless process that are tried: a debugger can keep any number of them as zombies
CACHED_BYTES = 2**20  # of the texts of cgroup files: the owner of a subtree gives its groups names of any length
HeldOf = Callable[[int, int], Held | None]


#: The kubelet's own groups above those of its pods; they belong to no pod.
_ABOVE_PODS = re.compile(r"(?:[^/]*-)?kubepods(?:-burstable|-besteffort)?(?:\.slice)?\Z|burstable\Z|besteffort\Z")


def is_unreadable(path: str) -> bool:
    """Whether a group's name places it below the kubelet's group, and not among those above its pods.

    For a path from which no pod could be read: then it is not known whether the process is in a pod.
    """
    return "kubepods" in path and _ABOVE_PODS.match(path.rpartition("/")[2]) is None


_NOWHERE: Mapping[str, str] = MappingProxyType({})
EVERYTHING = Wants()
PLACE = Wants(exe=False, cmdline=False, status=False)


class IgnoredNames(Struct):
    """Cache of names, and of names in groups, that no rule can match.

    Both as the kernel prints them: `printed`, and the whole ``cgroup``.
    """

    names: set[bytes]
    in_groups: set[tuple[bytes, bytes]]
    asks_groups: bool = False


class ProcReader:
    """Reads a proc file system. One per thread that reads (the cache of group paths has no lock).

    ``slow`` makes the reads that may never return; all readers share one.
    """

    def __init__(self, proc: ProcRoot, pods: PodLookup | None = None, slow: DeadlineReads | None = None) -> None:
        self.proc = proc
        self._pods, self._slow = pods, slow or DeadlineReads(proc.path)
        self._groups: dict[bytes, Mapping[str, str]] = {}
        self._groups_before: dict[bytes, Mapping[str, str]] = {}
        self._groups_bytes = 0

    def begin_round(self) -> None:
        """Start a round: drop the cached groups that were not used since the last one, because pods come and go."""
        self._groups_before, self._groups, self._groups_bytes = self._groups, {}, 0

    def pids(self) -> list[int]:
        """The pids of all processes, ascending as the kernel lists them."""
        return [int(number) for number in self.numbers()]

    def numbers(self) -> list[bytes]:
        """The pids of all processes as the kernel prints them, which is half of a path."""
        return [name for name in os.listdir(os.fsencode(self.proc.path)) if name.isdigit()]

    def stat_line(self, pid: int, stat: bytes = b"") -> StatLine:
        """The parsed ``stat`` of the process that has the pid now; ``stat``: its text, where that was read already.

        Raises:
            ProcessGone: no process has it.
        """
        stat_line = parse_stat(pid, stat or self.stat(pid))
        return self._with_thread(stat_line, self.proc.fd, f"{pid}/") if stat_line.headless else stat_line

    def _with_thread(self, stat_line: StatLine, fd: int, prefix: str) -> StatLine:
        """Return a headless process with the first thread found that lives."""
        try:
            descriptor = os.open(f"{prefix}task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        except OSError:
            return stat_line
        try:
            with os.scandir(descriptor) as threads:
                for one in islice(threads, MOST_THREADS):
                    try:
                        thread = parse_stat(int(one.name), self._read(descriptor, f"{one.name}/stat"))
                    except (ProcessGone, KernelRefused):
                        continue
                    if not (thread.ended or thread.headless):
                        return replace(stat_line, rss_pages=thread.rss_pages, thread=thread.pid)
        except OSError:  # the process ended
            pass
        finally:
            os.close(descriptor)
        return stat_line

    def stat(self, pid: int) -> bytes:
        """The whole ``stat`` of the process that has the pid now.

        Raises:
            ProcessGone: no process has it.
        """
        return self._read(self.proc.fd, f"{pid}/stat")

    def iter_candidates(
        self, numbers: Iterable[bytes], ignored: IgnoredNames, known: Container[bytes], followed: Container[int]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the processes of ``numbers`` that a rule may match, with their ``stat`` where it was read, else empty.

        A rescan spends its time on processes of no rule here, so this is one loop without calls of our own, and numbers
        and names stay as the kernel prints them. ``comm`` is the cheapest file, two thirds of the cost of ``stat``,
        which is read where parents count, and where groups do: those of a headless process are another thread's.
        """
        opened, read, close, root = os.open, os.read, os.close, self.proc.fd
        names, in_groups, asks_groups = ignored.names, ignored.in_groups, ignored.asks_groups
        latest: dict[bytes, bytes] = {}  # most of a name are in one place: comparing it is cheaper than hashing it
        reads_stat = bool(followed) or asks_groups
        file, most = (b"/stat", _STAT_BYTES) if reads_stat else (b"/comm", COMM_BYTES)
        text = b""
        for number in numbers:
            if number in known:
                yield int(number), b""
                continue
            try:
                descriptor = opened(number + file, _READ_ONLY, dir_fd=root)
                try:
                    name = read(descriptor, most)
                finally:
                    close(descriptor)
                if reads_stat:
                    text = name
                    name, parent = name_and_parent(text)
                    if parent in followed:
                        yield int(number), text  # a rule may apply to a child whatever its name
                        continue
                if name in names:
                    continue
                if asks_groups and not is_zombie(text):
                    descriptor = opened(number + b"/cgroup", _READ_ONLY, dir_fd=root)
                    try:
                        groups = read(descriptor, _PAGE)
                        if len(groups) == _PAGE:
                            groups += kernel_text.read_open(descriptor, "cgroup")
                    finally:
                        close(descriptor)
                    if latest.get(name) == groups:
                        continue
                    if (name, groups) in in_groups:
                        latest[name] = groups
                        continue
                yield int(number), text
            except (OSError, KernelRefused):
                yield int(number), b""

    def name_of(self, process: OpenProcess) -> bytes:
        """The name of an open process, as `printed`: the cheapest file.

        Raises:
            ProcessGone: it ended.
        """
        return self._read(process.fd, "comm", COMM_BYTES)

    def group_text(self, pid: int) -> bytes:
        """The whole ``cgroup`` of the process that has the pid now; empty where the kernel does not print it.

        Raises:
            ProcessGone: no process has it.
        """
        return self._group_text(self.proc.fd, f"{pid}/cgroup") or b""

    def group_text_of(self, process: OpenProcess) -> bytes:
        """The whole ``cgroup`` of an open process, read once; empty where the kernel does not print it.

        Raises:
            ProcessGone: it ended.
        """
        return self._group_text(process.fd, "cgroup", process) or b""

    def real_uid_of(self, process: OpenProcess) -> int:
        """The user that started an open process: a set-user-id program does not change this one.

        Raises:
            ProcessGone: it ended.
        """
        return parse_uids(self._read(process.fd, "status"))[0]

    def stat_of(self, process: OpenProcess) -> bytes:
        """The whole ``stat`` of an open process.

        Raises:
            ProcessGone: it ended.
        """
        return self._read(process.fd, "stat")

    def stat_line_of(self, process: OpenProcess, stat: bytes = b"") -> StatLine:
        """The parsed ``stat`` of an open process; ``stat``: its text, where that was read already.

        Raises:
            ProcessGone: it ended.
        """
        stat_line = parse_stat(process.pid, stat or self.stat_of(process))
        if stat_line.headless:
            stat_line = self._with_thread(stat_line, process.fd, "")
            process.thread = stat_line.thread
        return stat_line

    def facts(
        self, stat_line: StatLine, wants: Wants, held: Held | None = None, opened: OpenProcess | None = None
    ) -> Process:
        """Read the rest about a process, without ancestors; through ``opened`` where there is one, else by pid.

        Raises:
            ProcessGone: it ended.
        """
        fd, prefix = (opened.fd, "") if opened is not None else (self.proc.fd, f"{stat_line.pid}/")
        adj = (
            oomscore.read(opened) if opened is not None else oomscore.parsed(self._read(fd, f"{prefix}{oomscore.FILE}"))
        )
        if stat_line.thread:
            with suppress(ProcessGone):  # that thread ended
                return self._facts(stat_line, wants, f"{prefix}task/{stat_line.thread}/", opened, adj, held)
            stat_line = replace(stat_line, thread=0)
        return self._facts(stat_line, wants, prefix, opened, adj, held)

    def _facts(
        self,
        stat_line: StatLine,
        wants: Wants,
        prefix: str,
        opened: OpenProcess | None,
        adj: int,
        held: Held | None,
    ) -> Process:
        fd = self.proc.fd if opened is None else opened.fd
        text: bytes | None = b""
        if wants.groups:
            is_stale = stat_line.headless and not stat_line.thread
            text = None if is_stale else self._group_text(fd, f"{prefix}cgroup", opened)
        groups = self._groups_of(text) if text else _NOWHERE
        uids: tuple[int, ...] = ()
        rss, swap, tables = stat_line.rss_pages, 0, 0
        if wants.status:
            uids, rss, swap, tables = parse_status(self._read(fd, f"{prefix}status"))
        cmdline, unread = (
            self._cmdline(fd, prefix, stat_line) if wants.cmdline and not stat_line.kernel_thread else ((), "")
        )
        pod = self.pod_of(groups)
        return Process(
            stat_line.pid,
            stat_line.start_ticks,
            stat_line.ppid,
            stat_line.comm,
            self._exe(fd, prefix) if wants.exe and not stat_line.kernel_thread else "",
            cmdline,
            uids[1] if uids else 0,
            groups,
            adj,
            rss,
            swap,
            tables,
            stat_line.threads,
            stat_line.kernel_thread,
            pod,
            held,
            unread=unread,
            uids=uids,
            pod_unknown=text is None
            or (pod is None and b"kubepods" in text and any(map(is_unreadable, groups.values()))),
            thread=stat_line.thread,
        )

    def with_ancestors(self, process: Process, lineage: Lineage, wants: Wants, held: HeldOf) -> Process:
        """Return ``process`` with ``ancestors`` as far as ``lineage`` requires, up to one that cannot be read."""
        if lineage is Lineage.NONE or process.kernel_thread:
            return process
        line: list[Process] = []
        ppid, seen = process.ppid, {process.pid}
        while ppid > 0 and ppid not in seen:
            seen.add(ppid)
            try:
                stat_line = self.stat_line(ppid)
                line.append(self.facts(stat_line, wants, held(ppid, stat_line.start_ticks)))
            except (ProcessGone, KernelRefused):
                break
            ppid = line[-1].ppid
            if lineage is Lineage.PARENT:
                break
        return replace(process, ancestors=tuple(line))

    def children_of(self, pid: int) -> Iterator[int]:
        """Yield the children of a process; see `children.children_of`."""
        return children_of(self.proc.path, pid)

    def everybody(
        self, held: HeldOf, attach: Callable[[Process], Process] = lambda process: process
    ) -> tuple[Process, ...]:
        """Read every process in full, with all its ancestors taken from the others; pass each through ``attach``.

        A process that ends, or that the kernel does not let us read, is left out.
        """
        found: dict[int, Process] = {}
        for pid in self.pids():
            try:
                stat_line = self.stat_line(pid)
                found[pid] = attach(self.facts(stat_line, EVERYTHING, held(pid, stat_line.start_ticks)))
            except (ProcessGone, KernelRefused):
                continue
        return tuple(replace(process, ancestors=_line(process, found)) for process in found.values())

    def place_of(self, text: bytes) -> tuple[Mapping[str, str], PodFacts | None]:
        """The groups and the pod of a process, from its whole ``cgroup``."""
        groups = self._groups_of(text)
        return groups, self.pod_of(groups)

    def _groups_of(self, text: bytes) -> Mapping[str, str]:
        groups = self._groups.get(text)
        if groups is None:
            groups = self._groups_before.get(text)
            if groups is None:
                groups = MappingProxyType(parse_groups(text))
            if len(text) <= LONGEST_CACHED:
                self._groups_bytes += len(text)
                if self._groups_bytes > CACHED_BYTES:
                    self._groups.clear()
                    self._groups_bytes = len(text)
                self._groups[text] = groups
        return groups

    def pod_of(self, groups: Mapping[str, str]) -> PodFacts | None:
        """The pod of a process in these groups, as far as it is known."""
        return self._pods.pod_of(groups) if self._pods is not None else None

    def _group_text(self, fd: int, name: str, opened: OpenProcess | None = None) -> bytes | None:
        """A whole ``cgroup``; None for a path longer than PATH_MAX, which some kernels do not print.

        A user nests groups that deep: the rest of the process is known all the same.
        """
        try:
            return self._read(fd, name) if opened is None else opened.text(name)
        except KernelRefused as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise

    def _exe(self, fd: int, prefix: str) -> str:
        """The program's path; empty where it cannot be read. A replaced file (an upgrade) keeps its path."""
        try:
            return kernel_text.shared(os.readlink(f"{prefix}exe".encode(), dir_fd=fd).removesuffix(b" (deleted)"))
        except OSError:  # ENOENT: a zombie. EACCES: it holds a capability that we lack
            return ""

    def _cmdline(self, fd: int, prefix: str, stat_line: StatLine) -> tuple[tuple[str, ...], str]:
        """The command line's words, or the reason why they are not known."""
        name = f"{prefix}cmdline"
        try:
            text = self._slow.read(fd, name, CMDLINE_BYTES, (stat_line.pid, stat_line.start_ticks)).rstrip(b"\0")
        except Unreadable as error:
            return (), error.message
        except OSError as error:
            raise self._translated(name, error) from error
        return (tuple(kernel_text.decode(text).split("\0")) if text else ()), ""

    def _read(self, fd: int, name: str, most: int = 0) -> bytes:
        """Read all of a file, or only its first ``most`` bytes."""
        try:
            descriptor = os.open(name, _READ_ONLY, dir_fd=fd)
            try:
                data = os.read(descriptor, most or _PAGE)
                return data if most or len(data) < _PAGE else data + kernel_text.read_open(descriptor, name)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._translated(name, error) from error

    def _translated(self, name: str, error: OSError) -> ProcessGone | KernelRefused:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            return ProcessGone(name)
        return KernelRefused("read", f"{self.proc.path}/{name}", error.errno or 0)


def _line(process: Process, among: Mapping[int, Process]) -> tuple[Process, ...]:
    line: list[Process] = []
    seen = {process.pid}
    parent = among.get(process.ppid)
    while parent is not None and parent.pid not in seen:
        seen.add(parent.pid)
        line.append(parent)
        parent = among.get(parent.ppid)
    return tuple(line)
