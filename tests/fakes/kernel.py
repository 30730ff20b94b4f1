"""A machine in memory: processes, one cgroup hierarchy with files, and what each would be like without us.

It is read and written through the faces of `holdfast.process` and `holdfast.cgroups`, so that the executor, the journal
and the reconciler over it are the real ones. ``own`` of a process or file is the model: what it would have if there
were no holdfast. A fork hands it on, another program's write changes it, ours never do.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from holdfast.cgroups import Hierarchy
from holdfast.errors import KernelRefused, ProcessGone
from holdfast.node.model.process import GroupFacts, HostFacts, Process
from holdfast.node.proc import host
from holdfast.node.proc.parse import parse_stat

TREE = "pids"
EXISTING = ("/", "/src1", "/src2", "/src3")


class Killed(BaseException):
    """kill -9."""


@dataclass(eq=False)
class Program:
    """One process."""

    pid: int
    start_ticks: int
    ppid: int
    comm: str
    adj: int = 0
    group: str = "/"
    own_adj: int = 0
    own_group: str = "/"
    uid: int = 0
    threads: tuple[str, ...] = ()  # groups of further threads
    lost: bool = False  # it was forked while we were killed, by one that ended before we were back


@dataclass
class Kernel:
    """The machine."""

    processes: dict[int, Program] = field(default_factory=dict)
    groups: set[str] = field(default_factory=lambda: set(EXISTING))
    owners: dict[str, int] = field(default_factory=dict)  # of groups; root's are left out
    threaded: set[str] = field(default_factory=set)  # groups that take threads alone
    own_groups: set[str] = field(default_factory=lambda: set(EXISTING))
    files: dict[tuple[str, str], str] = field(default_factory=dict)
    own_files: dict[tuple[str, str], str] = field(default_factory=dict)
    inodes: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    ticks: int = 1000
    fuse: int = -1  # writes and commits until we are killed
    refuses: set[str] = field(default_factory=set)  # "adj", "join", "file", "make", "remove", "journal": says no to us
    meanwhile: list[tuple[int, Callable[[], None]]] = field(default_factory=list)  # what others do in so many moments

    def __post_init__(self) -> None:
        self.start("init", pid=1, ppid=0)
        self.start("holdfast", pid=2)
        for group in EXISTING[1:]:
            self.write_file(group, "pids.max", "1000")

    # -- what others do --

    def start(self, comm: str, pid: int = 0, ppid: int = 1) -> Program:
        self.ticks += 1
        pid = pid or next(number for number in range(100, 1000) if number not in self.processes)
        parent = self.processes.get(ppid)
        made = Program(pid, self.ticks, ppid, comm)
        if parent is not None:
            made.adj, made.group = parent.adj, parent.group
            made.own_adj, made.own_group, made.lost = parent.own_adj, parent.own_group, parent.lost
        self.processes[pid] = made
        return made

    def exit(self, program: Program) -> None:
        del self.processes[program.pid]
        for other in self.processes.values():
            if other.ppid == program.pid:
                other.ppid = 1

    def write_adj(self, program: Program, value: int) -> None:
        program.adj = program.own_adj = value

    def move(self, program: Program, group: str) -> None:
        if group not in self.groups:
            self.make_group(group)
        program.group = program.own_group = group

    def write_file(self, group: str, name: str, value: str) -> None:
        if group not in self.groups:
            self.make_group(group)
        self.files[group, name] = self.own_files[group, name] = value

    def make_group(self, group: str) -> None:
        """Make a group; one of that name that is there is removed before."""
        if group in self.groups:
            self.remove_group(group)
        self.groups.add(group)
        self.own_groups.add(group)
        self.files[group, "pids.max"] = self.own_files[group, "pids.max"] = "max"

    def remove_group(self, group: str) -> None:
        """Remove an empty group, also one of another program."""
        self.groups.discard(group)
        self.own_groups.discard(group)
        self.inodes.pop(group, None)
        for files in (self.files, self.own_files):
            files.pop((group, "pids.max"), None)

    # -- what we do --

    def burn(self, *, last_look: bool = False) -> None:
        """One more boundary at which we may be killed, and others may do something.

        Not between our ``last_look`` and the write that follows: there are microseconds, and no way to see it.
        """
        if self.meanwhile and not last_look:
            due, self.meanwhile = self.meanwhile, []
            for moments, act in due:
                if moments:
                    self.meanwhile.append((moments - 1, act))
                else:
                    act()
        if self.fuse == 0:
            raise Killed
        self.fuse -= 1

    def find(self, pid: int) -> Program:
        try:
            return self.processes[pid]
        except KeyError:
            raise ProcessGone(str(pid)) from None


class Opened:
    """`holdfast.process.OpenProcess`."""

    thread = 0

    def __init__(self, kernel: Kernel, program: Program) -> None:
        self.kernel, self.program, self.pid = kernel, program, program.pid
        self.texts: dict[str, bytes] = {}
        self.is_handed_over = False

    def _alive(self) -> Program:
        assert not self.is_handed_over
        if self.kernel.processes.get(self.pid) is not self.program:
            raise ProcessGone(str(self.pid))
        return self.program

    def read(self, name: str) -> bytes:
        return text_of(self._alive(), name)

    def text(self, name: str) -> bytes:
        if name not in self.texts:
            self.texts[name] = self.read(name)
        return self.texts[name]

    def peek(self, name: str) -> bytes:
        return self.read(name)

    def last_look(self, name: str) -> bytes:
        return self.read(name)

    def exchange(self, name: str, value: bytes, old: bytes | None = None) -> bytes | None:
        program = self._alive()
        self.kernel.burn(last_look=True)
        if old is not None and self.read(name) != old:
            return None
        if "adj" in self.kernel.refuses:
            raise KernelRefused("write", name, 13)
        program.adj = int(value)
        self.kernel.burn()
        return value

    def start_ticks(self) -> int:
        return self._alive().start_ticks

    def has_threads(self) -> bool:
        return bool(self._alive().threads)

    def living_thread(self) -> None:
        """The first one runs."""

    def thread_groups(self) -> list[bytes]:
        program = self._alive()
        groups = (program.group, *program.threads) if program.threads else ()
        return [f"2:{TREE}:{group}\n".encode() for group in groups]

    def is_reaped(self) -> bool:
        return self.kernel.processes.get(self.pid) is not self.program

    def hand_over(self) -> Opened:
        self.is_handed_over = True
        return Opened(self.kernel, self.program)

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *unused: object) -> None:
        """Nothing is open."""


def text_of(program: Program, name: str) -> bytes:
    texts = {
        "stat": f"{program.pid} ({program.comm}) S {program.ppid} 1 1 0 -1 0 {'0 ' * 10}1 0 {program.start_ticks} 0 0 0",  # noqa: E501
        "comm": f"{program.comm}\n",
        "cgroup": f"2:{TREE}:{program.group}\n",
        "status": f"Name:\t{program.comm}\nUid:\t{program.uid}\t{program.uid}\t{program.uid}\t{program.uid}\n",
        "oom_score_adj": f"{program.adj}\n",
    }
    return texts[name].encode()


class Proc:
    """`holdfast.process.ProcRoot`."""

    path, fd = "/proc", -1

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def open(self, pid: int) -> Opened:
        return Opened(self.kernel, self.kernel.find(pid))

    def open_self(self) -> Opened:
        return self.open(2)


class Tree:
    """`holdfast.cgroups.face.Tree`."""

    name, mount = TREE, "/sys/fs/cgroup/pids"

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def controllers(self) -> frozenset[str]:
        return frozenset({TREE})

    def at(self, path: str) -> str:
        return self.mount + path

    def exists(self, path: str) -> bool:
        return path in self.kernel.groups

    def owner(self, path: str) -> int:
        return self.kernel.owners.get(path, 0)

    def inode(self, path: str) -> int:
        return self.kernel.inodes.setdefault(path, next(self.kernel.numbers)) if path in self.kernel.groups else 0

    def create(self, path: str, controllers: object = ()) -> tuple[str, ...]:
        parts, made = path.strip("/").split("/"), []
        for depth in range(len(parts)):
            at = "/" + "/".join(parts[: depth + 1])
            if at not in self.kernel.groups:
                if "make" in self.kernel.refuses:
                    raise KernelRefused("mkdir", at, 13)
                self.kernel.burn()
                if at not in self.kernel.groups:  # or another program made it at this moment
                    self.kernel.groups.add(at)
                    self.kernel.files[at, "pids.max"] = "max"
                    made.append(at)
                self.kernel.burn()
        return tuple(made)

    def needs(self, path: str, controllers: object = ()) -> tuple:
        return ()

    def join(self, path: str, pid: int, still: Callable[[], bool] | None = None) -> bool:
        if pid == 0:
            return True
        program = self.kernel.find(pid)
        self.kernel.burn(last_look=True)
        if still is not None and not still():
            return False
        if path not in self.kernel.groups:
            raise KernelRefused("write", path, 2)
        if path in self.kernel.threaded:
            raise KernelRefused("write", path, errno.EOPNOTSUPP)
        if "join" in self.kernel.refuses:
            raise KernelRefused("write", path, 16)
        program.group = path
        self.kernel.burn()
        return True

    def members(self, path: str) -> tuple[int, ...]:
        return tuple(pid for pid, program in self.kernel.processes.items() if program.group == path)

    def children(self, path: str) -> tuple[str, ...]:
        return tuple(group for group in self.kernel.groups if group != path and group.rsplit("/", 1)[0] == path)

    def read(self, path: str, file: str) -> str:
        try:
            return self.kernel.files[path, file]
        except KeyError:
            raise KernelRefused("read", f"{path}/{file}", 2) from None

    def write(self, path: str, file: str, value: str) -> str:
        self.kernel.burn(last_look=True)
        if (path, file) not in self.kernel.files:
            raise KernelRefused("write", f"{path}/{file}", 2)
        if file == "cpuset.cpus":
            if not value and self.members(path):  # kernel/cgroup/cpuset.c, validate_change
                raise KernelRefused("write", f"{path}/{file}", errno.ENOSPC)
        elif "file" in self.kernel.refuses or not (value == "max" or value.isdigit()):
            raise KernelRefused("write", f"{path}/{file}", 22)
        self.kernel.files[path, file] = value
        self.kernel.burn()
        return value

    def remove(self, path: str) -> bool:
        if path not in self.kernel.groups:
            return True
        if self.members(path) or self.children(path):
            return False
        if "remove" in self.kernel.refuses:
            raise KernelRefused("rmdir", path, 16)
        self.kernel.burn(last_look=True)
        self.kernel.groups.discard(path)
        self.kernel.inodes.pop(path, None)
        self.kernel.files.pop((path, "pids.max"), None)
        return True

    def close(self) -> None:
        """Nothing is open."""


class Groups(host.Groups):
    """Groups of the machine in memory; what is kept of them until `forget` is the product's own."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(hierarchy_of(kernel))
        self.kernel = kernel

    def _read(self, path: str) -> GroupFacts | None:
        if path not in self.kernel.groups:
            return None
        return GroupFacts(values={file: text for (group, file), text in self.kernel.files.items() if group == path})


class Reader:
    """`holdfast.node.proc.reader.ProcReader`."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.proc = kernel, Proc(kernel)

    def begin_round(self) -> None:
        """Nothing is kept."""

    def numbers(self) -> list[bytes]:
        return [b"%d" % pid for pid in sorted(self.kernel.processes)]

    def stat(self, pid: int) -> bytes:
        return text_of(self.kernel.find(pid), "stat")

    def group_text(self, pid: int) -> bytes:
        return text_of(self.kernel.find(pid), "cgroup")

    def real_uid_of(self, opened: Opened) -> int:
        return opened._alive().uid

    def name_of(self, opened: Opened) -> bytes:
        return opened.read("comm")

    def stat_of(self, opened: Opened) -> bytes:
        return opened.read("stat")

    def group_text_of(self, opened: Opened) -> bytes:
        return opened.text("cgroup")

    def place_of(self, text: bytes) -> tuple[Mapping[str, str], None]:
        return {TREE: text.decode().strip().split(":", 2)[2]}, None

    def stat_line(self, pid: int, stat: bytes = b""):
        return parse_stat(pid, stat or self.stat(pid))

    def stat_line_of(self, opened: Opened, stat=b""):
        return parse_stat(opened.pid, stat or opened.read("stat"))

    def iter_candidates(self, numbers, ignored, known, parents):
        for number in numbers:
            yield int(number), b""

    def children_of(self, pid: int) -> Iterator[int]:
        return iter([program.pid for program in self.kernel.processes.values() if program.ppid == pid])

    def facts(self, stat_line, wants, held=None, opened=None) -> Process:
        program = opened._alive() if opened is not None else self.kernel.find(stat_line.pid)
        return Process(
            stat_line.pid,
            stat_line.start_ticks,
            program.ppid,
            program.comm,
            cgroups={TREE: program.group},
            oom_score_adj=program.adj,
            held=held,
            uids=(program.uid,) * 3,
        )

    def with_ancestors(self, process: Process, lineage, wants, held) -> Process:
        line = []
        ppid = process.ppid
        while lineage and ppid in self.kernel.processes:
            stat_line = self.stat_line(ppid)
            line.append(self.facts(stat_line, wants, held(ppid, stat_line.start_ticks)))
            ppid = line[-1].ppid
        return Process(
            process.pid, process.start_ticks, process.ppid, process.comm, cgroups=process.cgroups,
            oom_score_adj=process.oom_score_adj, held=process.held, ancestors=tuple(line), uids=process.uids,
        )  # fmt: skip


def host_of(kernel: Kernel) -> HostFacts:
    return HostFacts(
        "boot", 2, 1 << 20, hierarchies=(TREE,), capabilities=frozenset({"CAP_SYS_RESOURCE"}), groups=Groups(kernel)
    )


def hierarchy_of(kernel: Kernel) -> Hierarchy:
    return Hierarchy({TREE: Tree(kernel)})
