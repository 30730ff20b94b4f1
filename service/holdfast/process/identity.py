"""Identify and open a process so that a reused pid cannot be mistaken for it.

The kernel reuses a pid. A descriptor of ``/proc/PID`` stays bound to one process: once the process is reaped, every
read and write through it fails with ESRCH, even when a new process has the pid (measured with a forced reuse). So code
that decides about a process opens it, reads *through* the descriptor, decides, and writes through it; there is no race.
Across time a process is (boot id, pid, start ticks).

Sources: proc_pid_stat(5), Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from holdfast import kernel_text
from holdfast.errors import KernelRefused, ProcessGone
from holdfast.process import last_look

_GONE = frozenset({errno.ESRCH, errno.ENOENT})
_SHORT = 4096  # bytes of a file that `OpenProcess.peek` is for
MOST_THREADS = 4096
_ONE_THREAD = 3  # links of ``task``: two, and one for each thread (proc_task_getattr in fs/proc/base.c)


def start_ticks_of(stat: bytes) -> int:
    """Field 22 of proc_pid_stat(5): clock ticks (USER_HZ, nearly always 100 a second) from boot to the start.

    The second field is the name in parentheses and may itself hold ``) R 1``: counting starts at the last one.

    Raises:
        UnknownKernelText: the text has no such field.
    """
    # 4242 (foo) Z) S 1 4242 4242 0 -1 4194304 … 20 0 1 0 123456 …
    try:
        return int(stat[stat.rindex(b")") + 2 :].split(b" ", 20)[19])
    except (ValueError, IndexError):
        raise kernel_text.malformed("stat of a process") from None


def read_boot_id(proc_root: str) -> str:
    """The random id of this boot (a uuid), from ``sys/kernel/random/boot_id``.

    Raises:
        KernelRefused: the file cannot be read.
    """
    path = f"{proc_root}/sys/kernel/random/boot_id"
    found = kernel_text.read(path).rstrip(b"\n")
    if not found.isascii():
        raise kernel_text.malformed(path)
    return found.decode()


class ProcRoot:
    """A proc file system, opened once: every lookup below it saves the walk to it (8 % of a rescan)."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, pid: int) -> OpenProcess:
        """Open the process that has the number now.

        Raises:
            ProcessGone: no process has it.
        """
        try:
            descriptor = os.open(str(pid), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError as error:
            raise _translated("open", f"{self.path}/{pid}", error) from error
        return OpenProcess(pid, descriptor, self.path)

    def open_self(self) -> OpenProcess:
        """Open our own process, whatever its number is in this proc file system."""
        descriptor = os.open("self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        return OpenProcess(os.getpid(), descriptor, self.path)

    def close(self) -> None:
        """Close the file system; processes opened through it stay open."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> ProcRoot:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


class OpenProcess:
    """One process, opened by a descriptor of its directory; a context manager.

    Every method raises `ProcessGone` once the process is reaped, even when another process has its number. For one
    thread at a time. ``thread``: one that lives, where the first one has ended; its files have the process's groups.
    """

    __slots__ = ("_files", "_proc_path", "_texts", "fd", "pid", "thread")

    def __init__(self, pid: int, descriptor: int, proc_path: str) -> None:
        self.pid = pid
        self.fd = descriptor
        self._proc_path = proc_path
        self.thread = 0
        self._files: dict[str, tuple[int, int]] = {}  # descriptor and flags of each open file
        self._texts: dict[str, bytes] = {}

    @property
    def _path(self) -> str:
        return f"{self._proc_path}/{self.pid}"

    def hand_over(self) -> OpenProcess:
        """Return the same process for another thread, with all open files. This object is closed from now on."""
        other = OpenProcess(self.pid, self.fd, self._proc_path)
        other._files, other.thread = self._files, self.thread
        self.fd, self._files = -1, {}
        return other

    def read(self, name: str) -> bytes:
        """Return all of a file of the process that is one record (see `kernel_text.read_record`).

        Raises:
            ProcessGone: the process ended.
            KernelRefused: any other refusal (``environ`` of another user …).
        """
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                return kernel_text.read_record(descriptor, f"{self._path}/{name}")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _translated("read", f"{self._path}/{name}", error) from error

    def text(self, name: str) -> bytes:
        """Return a file that is one record as it was at the first call. It stays open, for a `last_look`.

        Raises:
            ProcessGone: the process ended.
            KernelRefused: any other refusal.
        """
        text = self._texts.get(name)
        if text is None:
            try:
                descriptor = self._opened(name, os.O_RDONLY)
                text = kernel_text.read_record(descriptor, name)
            except OSError as error:
                raise _translated("read", f"{self._path}/{name}", error) from error
            self._texts[name] = text
        return text

    def link(self, name: str) -> str:
        """Return the target of a magic link (``exe``, ``cwd``, ``ns/net``).

        Raises:
            ProcessGone: the process ended; also for the ``exe`` of a kernel thread, which has none.
            KernelRefused: it is not permitted (needs CAP_SYS_PTRACE over a process with more capabilities than ours).
        """
        try:
            return os.readlink(name, dir_fd=self.fd)
        except OSError as error:
            raise _translated("readlink", f"{self._path}/{name}", error) from error

    def write(self, name: str, value: bytes) -> None:
        """Write the whole value at once. A buffered write would report success when the kernel refused.

        Raises:
            ProcessGone: the process ended.
            KernelRefused: the kernel refused it.
        """
        try:
            descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                os.write(descriptor, value)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _translated("write", f"{self._path}/{name}", error) from error

    def peek(self, name: str) -> bytes:
        """Return a short file, kept open for an `exchange` that may follow: that saves an open and a close.

        Raises:
            ProcessGone: the process ended.
            KernelRefused: any other refusal.
        """
        try:
            return os.pread(self._opened(name, os.O_RDWR), _SHORT, 0)
        except OSError as error:
            if error.errno in _GONE:
                raise ProcessGone(f"{self._path}/{name}") from error
            return self.read(name)  # a file that we may not write

    def exchange(self, name: str, value: bytes, old: bytes | None = None) -> bytes | None:
        """Write as `write` does; return the value read back through the same descriptor.

        With ``old``, write only if the file has this text directly before the write (`last_look`); None: it has
        another one.

        Raises:
            ProcessGone: the process ended.
            KernelRefused: the kernel refused it.
        """
        try:
            descriptor = self._opened(name, os.O_RDWR)
            if old is None:
                os.write(descriptor, value)
            elif not last_look.replace(descriptor, old, value):
                return None
            return os.pread(descriptor, _SHORT, 0)
        except OSError as error:
            raise _translated("write", f"{self._path}/{name}", error) from error

    def last_look(self, name: str) -> bytes:
        """Read a file that is one record, directly before a write that depends on it (see `last_look`); keep it open.

        Raises:
            ProcessGone: the process ended.
            KernelRefused: any other refusal.
        """
        try:
            return last_look.pread(self._opened(name, os.O_RDONLY))
        except OSError as error:
            raise _translated("read", f"{self._path}/{name}", error) from error

    def _opened(self, name: str, flags: int) -> int:
        """Return a descriptor of a file, opened at least for ``flags``; it stays open."""
        known = self._files.get(name)
        if known is not None:
            descriptor, opened_for = known
            if opened_for >= flags:  # O_RDONLY is 0, O_RDWR 2
                return descriptor
            del self._files[name]
            os.close(descriptor)
        descriptor = os.open(name, flags | os.O_CLOEXEC, dir_fd=self.fd)
        self._files[name] = (descriptor, flags)
        return descriptor

    def start_ticks(self) -> int:
        """See `start_ticks_of`."""
        return start_ticks_of(self.read("stat"))

    def has_threads(self) -> bool:
        """Whether the process has other threads than its first one: 2 µs.

        Raises:
            ProcessGone: the process ended.
            KernelRefused: any other refusal.
        """
        try:
            return os.stat("task", dir_fd=self.fd).st_nlink > _ONE_THREAD
        except OSError as error:
            raise _translated("stat", f"{self._path}/task", error) from error

    def thread_groups(self) -> Iterator[bytes]:
        """Yield the text of ``cgroup`` of each thread, of at most `MOST_THREADS`; none where there is only one.

        Raises:
            ProcessGone: the process ended.
            KernelRefused: any other refusal.
        """
        yield from self._groups_of_threads("task", skip="")

    def _groups_of_threads(self, tasks: str, skip: str) -> Iterator[bytes]:
        try:
            if os.stat(tasks, dir_fd=self.fd).st_nlink <= _ONE_THREAD:
                return
            descriptor = os.open(tasks, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                for name in os.listdir(descriptor)[:MOST_THREADS]:
                    if name != skip and (text := _of_thread(descriptor, name)):
                        yield text
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _translated("read", f"{self._path}/{tasks}", error) from error

    def living_thread(self) -> OpenThread | None:
        """Open a thread that runs, if the first one ended and others run; None in every other case."""
        try:
            if not _has_ended(self.read("stat")):
                return None
            found = a_thread(self.fd, "", self.pid)
            if found is None:
                return None
            descriptor = os.open(found, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        except (OSError, ProcessGone, KernelRefused):  # it ended meanwhile: what follows meets that, too
            return None
        return OpenThread(self.pid, descriptor, self._proc_path)

    def is_reaped(self) -> bool:
        """Whether the process is reaped; a zombie is not yet. The cheapest check: 2 µs."""
        try:
            os.stat("comm", dir_fd=self.fd)
        except OSError:
            return True
        return False

    def close_files(self) -> None:
        """Close the open files; the process stays open, with one descriptor."""
        for descriptor, _ in self._files.values():
            os.close(descriptor)
        self._files = {}

    def close(self) -> None:
        """Close all descriptors of the process."""
        if self._files:
            self.close_files()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> OpenProcess:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


class OpenThread(OpenProcess):
    """A thread of a process whose first thread ended: the kernel prints v1 groups of that one as the root's."""

    __slots__ = ()

    def thread_groups(self) -> Iterator[bytes]:
        """See `OpenProcess.thread_groups`; without the first thread."""
        yield from self._groups_of_threads("..", skip=str(self.pid))


def a_thread(fd: int, prefix: str, pid: int) -> str | None:
    """Return the directory of a thread of a process other than the first: ``PREFIXtask/TID``; None: there is none.

    Raises:
        OSError: as open(2).
    """
    tasks = os.open(f"{prefix}task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    try:
        return next((f"{prefix}task/{name}" for name in os.listdir(tasks) if name != str(pid)), None)
    finally:
        os.close(tasks)


def _has_ended(stat: bytes) -> bool:
    return stat[stat.rfind(b")") + 2 :][:1] in (b"Z", b"X")


def _of_thread(tasks: int, name: str) -> bytes:
    """Return the ``cgroup`` of a thread; empty if it ended."""
    try:
        descriptor = os.open(os.path.join(name, "cgroup"), os.O_RDONLY | os.O_CLOEXEC, dir_fd=tasks)
        try:
            return kernel_text.read_record(descriptor, f"task/{name}/cgroup")
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _GONE:
            return b""
        raise


def _translated(operation: str, path: str, error: OSError) -> ProcessGone | KernelRefused:
    if error.errno in _GONE:
        return ProcessGone(path)
    return KernelRefused(operation, path, error.errno or 0)
