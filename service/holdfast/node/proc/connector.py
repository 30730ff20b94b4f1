"""The kernel's process events: a netlink connector socket (drivers/connector/cn_proc.c, linux/cn_proc.h).

Theory
------
* The kernel sends one datagram per event to every socket in group ``CN_IDX_PROC``, once any process has said LISTEN. It
  accepts LISTEN only from the initial pid and user namespaces, and its own socket exists only in the initial network
  namespace. So a thread that enters the network namespace of pid 1 *opens* the socket, and our own threads use it.
* Linux 6.6 takes an event mask with LISTEN and leaves out the other events. On every kernel a classic BPF filter on the
  socket drops, before a copy is queued, the events that we do not need: forks of parents we do not follow, renames of
  threads, and all events of a process that makes them in a loop (`mute`). A fork without exec (a PostgreSQL worker)
  raises no other event, so the filter contains the parents that matter.
* The receive buffer is 4 MiB (the default keeps 257 events and then drops). ENOBUFS reports, once, that events were
  lost. From then on the kernel drops every event until all that it kept were read (net/netlink/af_netlink.c,
  NETLINK_S_CONGESTED), and does not report when that ends. The first event that is younger than the ENOBUFS, or an
  empty socket, marks the end: only then `read` raises `EventsLost`, and the caller rescans all of ``/proc``.
* Send IGNORE on every way out. The kernel counts a listener that closes without it indefinitely, and goes on building
  messages that no process reads.
* LISTEN is not acknowledged reliably. `heartbeat` renames our own thread to the name it has: the event of this rename
  is in the socket when the write returns, or the feed is dead.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Collection

from msgspec import Struct

from holdfast.errors import KernelRefused, Unavailable, reason_of
from holdfast.node.proc.host import kernel_version
from holdfast.process import namespace

_NETLINK_CONNECTOR = 11
_CN_IDX_PROC = _CN_VAL_PROC = 1
_LISTEN, _IGNORE = 1, 2
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_NLMSG_DONE = 3
BUFFER_BYTES = 4 * 2**20  # the kernel doubles it; holds some 10,000 events
_MASK_SINCE = (6, 6)
BATCH = 32  # events read before the first of them is served
MOST_FORKS = 8192  # forks read at a time
MOST_MUTED = 64  # processes in the filter
#: With more followed parents the filter passes all forks, and `read` filters them: its jumps are 8 bits wide.
MAX_FOLLOWED = 200

FORK, EXEC, UID, COMM = 0x1, 0x2, 0x4, 0x200
# nlmsghdr (16) + cn_msg (20) + proc_event {what, cpu, timestamp_ns, union}: its first words
_WHAT, _TIME, _FIRST, _SECOND, _THIRD, _FOURTH = 36, 44, 52, 56, 60, 64
_EVENT = struct.Struct("=36xI4xQ4I")
_FORK = struct.Struct("=36xI4xQ4xI4xI")  # the process that forked, and its child


class ProcessEvent(Struct, frozen=True):
    """One event. ``pid`` is the process (for a fork: the new one), ``parent`` only a fork's; ``at_ns`` is monotonic."""

    what: int
    pid: int
    parent: int
    at_ns: int


class EventsLost(Exception):
    """The kernel dropped events because we did not read fast enough."""


class _Gap:
    """The time in which the kernel drops every event: from an ENOBUFS until all events that it kept were read."""

    def __init__(self) -> None:
        self.since_ns = 0  # monotonic; 0: there is none

    def begin(self, error: OSError) -> None:
        """Begin the gap at an ENOBUFS; raise any other error."""
        if error.errno != errno.ENOBUFS:
            raise error
        self.since_ns = time.monotonic_ns()

    def ends(self, at_ns: int = 0) -> bool:
        """Whether the gap ends, with an event of this time; 0: with the socket empty. If so, clear it."""
        if not self.since_ns or 0 < at_ns <= self.since_ns:
            return False
        self.since_ns = 0
        return True


class ForkLog:
    """Every fork of a process, kept by the kernel until it is read: a second socket, which wakes no thread.

    So a fork costs only its reading, when something else wakes us, and a parent that ends at once is reported as well.
    """

    def __init__(self, proc_root: str) -> None:
        """Open and subscribe.

        Raises:
            Unavailable: see `ProcessEvents`.
        """
        try:
            self._socket = _opened_in_host_namespace(proc_root)
        except OSError as error:
            raise Unavailable(f"process events: {reason_of(error)}") from error
        try:
            _subscribe(self._socket, fork_program(), FORK)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"process events: {_why(error)}") from error
        self._gap = _Gap()
        self._found: list[tuple[int, int]] = []

    def read(self) -> list[tuple[int, int]]:
        """Return parent and child of each fork since the last call, oldest first; at most `MOST_FORKS`.

        Raises:
            Lost: some are gone; the rest can still be read.
        """
        receive, unpack, gap = self._socket.recv, _FORK.unpack_from, self._gap
        found, self._found = self._found, []
        while len(found) < MOST_FORKS:
            try:
                what, at_ns, parent, child = unpack(receive(4096))
            except BlockingIOError:
                break
            except OSError as error:
                gap.begin(error)
                continue
            except struct.error:  # a message without an event
                continue
            if what == FORK:
                found.append((parent, child))
                if gap.since_ns and gap.ends(at_ns):
                    self._found = found
                    raise EventsLost
        else:
            return found
        if gap.ends():
            self._found = found
            raise EventsLost
        return found

    def close(self) -> None:
        """Unsubscribe. Safe to call twice."""
        _unsubscribe(self._socket, FORK)


class ProcessEvents:
    """A subscription to process events; a context manager. `fileno` becomes readable when events wait."""

    def __init__(self, proc_root: str) -> None:
        """Open and subscribe.

        Raises:
            Unavailable: this kernel, namespace or container gives no process events; the reason in the message.
        """
        self._proc_root = proc_root
        self._followed: frozenset[int] = frozenset()
        self._kinds = EXEC | COMM
        self._pid = os.getpid()
        self._muted: tuple[int, ...] = ()
        self._gap = _Gap()
        self._read: list[ProcessEvent] = []  # before `EventsLost` was raised
        try:
            self._socket = _opened_in_host_namespace(proc_root)
        except OSError as error:
            raise Unavailable(f"process events: {reason_of(error)}") from error
        try:
            _subscribe(self._socket, self._filter(self._kinds), self._kinds)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"process events: {_why(error)}") from error
        if not self.heartbeat():
            self.close()
            raise Unavailable(
                "process events: the kernel does not answer; this needs the host's pid namespace and no user namespace"
            )

    def fileno(self) -> int:
        """The descriptor for poll."""
        return self._socket.fileno()

    def follow(self, parents: Collection[int], *, uids: bool = False) -> None:
        """Report forks by these processes as well, and changes of uid where rules need users."""
        wanted = frozenset(parents)
        kinds = EXEC | COMM | (FORK if wanted else 0) | (UID if uids else 0)
        if wanted == self._followed and kinds == self._kinds:
            return
        self._followed = wanted
        self._attach_filter(kinds)
        if kinds != self._kinds:
            self._kinds = kinds
            if kernel_version() >= _MASK_SINCE:  # an older kernel would count us twice
                _say(self._socket, _LISTEN, kinds)

    def mute(self, pids: Collection[int]) -> None:
        """Have the kernel drop the events of these processes, at most `MOST_MUTED`, in place of those muted before."""
        self._muted = tuple(pids)[:MOST_MUTED]
        self._attach_filter(self._kinds)

    def read(self) -> list[ProcessEvent]:
        """Return the waiting events, oldest first, at most `BATCH`; none: everything was read.

        Raises:
            Lost: some are gone; the rest can still be read.
        """
        receive, gap = self._socket.recv, self._gap
        found, self._read = self._read, []
        while len(found) < BATCH:
            try:
                event = parse_event(receive(4096))
            except BlockingIOError:
                ended = gap.ends()
                break
            except OSError as error:
                gap.begin(error)
                continue
            if event is None:
                continue
            if not event.parent or self._follows(event.parent):
                found.append(event)
            if gap.since_ns and gap.ends(event.at_ns):
                ended = True
                break
        else:
            return found
        if ended:
            self._read = found
            raise EventsLost
        return found

    def _follows(self, parent: int) -> bool:
        """Whether forks by ``parent`` are followed; the kernel filters up to `MAX_FOLLOWED` parents itself."""
        return len(self._followed) <= MAX_FOLLOWED or parent in self._followed

    def heartbeat(self) -> bool:
        """Whether an event that must arrive does. It consumes no event: it peeks at the first one that waits.

        Call it when everything waiting was read.
        """
        path = f"{self._proc_root}/thread-self/comm"
        try:
            with open(path, "rb+", buffering=0) as file:
                file.write(file.read(64).removesuffix(b"\n"))
        except OSError:
            return True  # no such file here (a proc of another kind): no fault is known
        try:
            return bool(self._socket.recv(4096, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        except OSError as error:
            self._gap.begin(error)  # alive, and overrun; the kernel reports it once
            return True

    def close(self) -> None:
        """Unsubscribe. Safe to call twice."""
        _unsubscribe(self._socket, self._kinds)

    def __enter__(self) -> ProcessEvents:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _attach_filter(self, kinds: int) -> None:
        _attach(self._socket, self._filter(kinds))

    def _filter(self, kinds: int) -> list[Line]:
        return filter_program(kinds, self._followed, self._pid, self._muted)


def parse_event(data: bytes) -> ProcessEvent | None:
    """Parse one datagram; None for an event of another kind, or a message without an event."""
    if len(data) < _EVENT.size:
        return None
    what, at_ns, _, second, _, fourth = _EVENT.unpack_from(data)
    if what in (EXEC, COMM, UID):
        return ProcessEvent(what, second, 0, at_ns)
    return ProcessEvent(FORK, fourth, second, at_ns) if what == FORK else None


_LOAD, _JEQ, _RETURN, _TAX, _JEQ_X = 0x20, 0x15, 0x06, 0x07, 0x1D
_ACCEPT, _DROP = 0xFFFFFFFF, 0
Line = tuple[int, int, int, int]


def filter_program(kinds: int, followed: Collection[int], own_pid: int, muted: Collection[int] = ()) -> list[Line]:
    """The classic BPF program that accepts exec, uid and name of whole processes, and forks by ``followed``.

    It also accepts our own renames, and drops all events of ``muted``. A line is ``(code, jump if true, jump if false,
    operand)``; BPF loads words in network byte order, so operands have that order, too.
    """
    accept, drop = (_RETURN, 0, 0, _ACCEPT), (_RETURN, 0, 0, _DROP)
    program: list[Line] = []
    if muted:  # the process that executes, or is renamed; a fork's parent
        program.append((_LOAD, 0, 0, _SECOND))
        for pid in muted:
            program += [(_JEQ, 0, 1, _word(pid)), drop]
    program += [(_LOAD, 0, 0, _WHAT), (_JEQ, 0, 1, _word(EXEC)), accept]
    for kind in (COMM, UID):
        if kinds & kind:
            # ours (the heartbeat), or of the thread that is the process
            own = [(_LOAD, 0, 0, _SECOND), (_JEQ, 3, 0, _word(own_pid)), (_TAX, 0, 0, 0), (_LOAD, 0, 0, _FIRST)]
            program += [(_JEQ, 0, 7, _word(kind)), *own, (_JEQ_X, 0, 1, 0), accept, drop]
    if kinds & FORK:
        parents = sorted(followed) if len(followed) <= MAX_FOLLOWED else []
        # a new process, not a thread: its pid is its tgid
        program += [(_JEQ, 1, 0, _word(FORK)), drop]
        program += [(_LOAD, 0, 0, _THIRD), (_TAX, 0, 0, 0), (_LOAD, 0, 0, _FOURTH), (_JEQ_X, 1, 0, 0), drop]
        if parents:
            program.append((_LOAD, 0, 0, _SECOND))
            for at, parent in enumerate(parents):
                program.append((_JEQ, len(parents) - at, 0, _word(parent)))
            program.append(drop)
        program.append(accept)
    else:
        program.append(drop)
    return program


def fork_program() -> list[Line]:
    """The classic BPF program that accepts forks of whole processes and nothing else."""
    accept, drop = (_RETURN, 0, 0, _ACCEPT), (_RETURN, 0, 0, _DROP)
    program: list[Line] = [(_LOAD, 0, 0, _WHAT), (_JEQ, 1, 0, _word(FORK)), drop]
    return [*program, (_LOAD, 0, 0, _THIRD), (_TAX, 0, 0, 0), (_LOAD, 0, 0, _FOURTH), (_JEQ_X, 0, 1, 0), accept, drop]


def _subscribe(opened: socket.socket, program: Collection[Line], kinds: int) -> None:
    opened.setblocking(False)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
    except PermissionError:  # without CAP_NET_ADMIN: up to net.core.rmem_max
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    _attach(opened, program)
    opened.bind((0, _CN_IDX_PROC))
    _say(opened, _LISTEN, kinds)


def _unsubscribe(opened: socket.socket, kinds: int) -> None:
    if opened.fileno() >= 0:
        with contextlib.suppress(OSError):
            _say(opened, _IGNORE, kinds)
        opened.close()


def _say(opened: socket.socket, operation: int, kinds: int) -> None:
    """Send LISTEN (again, with another mask) or IGNORE."""
    body = struct.pack("=I", operation)
    if kernel_version() >= _MASK_SINCE:
        body += struct.pack("=I", kinds)
    message = struct.pack("=IIIIHH", _CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(body), 0) + body
    header = struct.pack("=IHHII", 16 + len(message), _NLMSG_DONE, 0, 0, 0)
    opened.send(header + message)


def _attach(opened: socket.socket, program: Collection[Line]) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    fprog = struct.pack("@HP", len(program), ctypes.addressof(code))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def _word(value: int) -> int:
    return socket.htonl(value)


def _why(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "no answer in this network namespace, and the host's could not be entered (CAP_SYS_ADMIN, hostPID)"
    if error.errno in (errno.EPERM, errno.EACCES):
        return "not permitted; Linux before 6.6 wants CAP_NET_ADMIN"
    return reason_of(error)


def _opened_in_host_namespace(proc_root: str) -> socket.socket:
    """A connector socket in the network namespace of pid 1; in ours where that is the same or cannot be entered."""
    try:
        if os.stat(f"{proc_root}/1/ns/net").st_ino == os.stat(f"{proc_root}/self/ns/net").st_ino:
            return _opened()
    except OSError:
        return _opened()  # we may not read pid 1: it has a capability that we lack
    opened: list[socket.socket] = []

    def enter_and_open() -> None:
        with contextlib.suppress(KernelRefused):  # then sending LISTEN reports that nothing answers here
            namespace.enter(f"{proc_root}/1/ns/net", namespace.NETWORK)
        opened.append(_opened())

    thread = threading.Thread(target=enter_and_open, name="open-process-events")
    thread.start()  # only this thread enters that namespace, and it ends here
    thread.join()
    return opened[0]


def _opened() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_CONNECTOR)
