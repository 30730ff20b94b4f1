"""Unix sockets that appear with owner and mode 0660 in one step, and are removed only while they are still ours.

A socket is bound under a hidden name, given its owner and mode, and renamed into place: no client can connect before it
has them, a stale file is replaced in one step, and a library that unlinks the name it bound (gRPC core does) cannot
remove a successor's socket. A live daemon's socket is never taken over; containerd's is (two daemons on one address
leave the first alive and unreachable). No other user may be able to write to the directory (`trust`). Mode and owner
are set on the bound socket through its descriptor: a link in its place gets neither.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from holdfast.errors import BootError
from holdfast.trust import open_trusted

MODE = 0o660
BACKLOG = 4096
_UCRED = struct.Struct("3i")


class Owner(Struct, frozen=True):
    """Owner of a socket; -1 leaves the id as it is."""

    uid: int = -1
    gid: int = -1

    @property
    def is_shared(self) -> bool:
        """Whether users other than root and our own may open the socket, by its mode 0660.

        For a daemon that does not run as root, its own group is assumed to have no other user.
        """
        alone = (0, os.getegid()) if os.geteuid() else (0,)
        gid = os.getegid() if self.gid < 0 else self.gid
        return self.uid not in (-1, 0, os.geteuid()) or gid not in alone


class UnixSocket:
    """One published socket path. ``bind_path`` is the name to bind to before `publish`."""

    def __init__(self, purpose: str, path: str, owner: Owner) -> None:
        self.purpose, self.path, self.owner = purpose, path, owner
        self._name = os.path.basename(path)
        self._hidden = f".hf-{zlib.crc32(self._name.encode()):08x}"  # short, and the same after a crash
        self._inode: tuple[int, int] | None = None
        self._directory = -1

    def refuse_if_taken(self) -> None:
        """Check that the path is free, and change nothing.

        Raises:
            BootError: the path belongs to a live daemon, or is no socket.
        """
        try:
            refuse_if_taken(self.path)
        except OSError as error:
            raise self._refusal(error.strerror or str(error)) from error
        except BootError as error:
            raise self._refusal(str(error)) from None

    def open(self) -> str:
        """Check that the path is free, and return the name to bind: short, whatever the length of the path.

        Raises:
            BootError: the path belongs to a live daemon, is no socket, or its directory cannot be used.
        """
        directory = Path(self.path).parent
        try:
            _make(directory)
            self._directory = open_trusted(str(directory))
            refuse_if_taken(self.path)
            _unlink_quietly(self._hidden, self._directory)
        except OSError as error:
            raise self._refusal(error.strerror or str(error)) from error
        except BootError as error:
            raise self._refusal(str(error)) from None
        return f"/proc/self/fd/{self._directory}/{self._hidden}"

    def publish(self) -> None:
        """Give the bound socket its mode and owner and its real name.

        Raises:
            BootError: the owner cannot be given (a uid that is not ours, without the privilege).
        """
        try:
            found = self._give(MODE)
            os.rename(self._hidden, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError as error:
            _unlink_quietly(self._hidden, self._directory)
            raise self._refusal(
                f"chown to {self.owner.uid}:{self.owner.gid}: {error.strerror}; set uid and gid to the daemon's own"
                if isinstance(error, PermissionError)
                else str(error.strerror)
            ) from error
        self._inode = (found.st_dev, found.st_ino)

    def _give(self, mode: int) -> os.stat_result:
        """Set mode and owner of the socket itself, not of a file that took its name; return its stat.
        Raises OSError.
        """
        descriptor = os.open(self._hidden, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
                raise FileExistsError(errno.EEXIST, "another file took the socket's place")
            itself = f"/proc/self/fd/{descriptor}"
            os.chmod(itself, mode)
            if self.owner != Owner():
                os.chown(itself, self.owner.uid, self.owner.gid)
            return found
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Remove the path if it still leads to this socket; a successor's is left alone."""
        if self._directory < 0:
            return
        try:
            found = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
            if (found.st_dev, found.st_ino) == self._inode:
                _unlink_quietly(self._name, self._directory)
        except FileNotFoundError:
            pass
        finally:
            os.close(self._directory)
            self._directory = -1

    def _refusal(self, why: str) -> BootError:
        return BootError(f"failed to get listener for {self.purpose}: {self.path}: {why}")


class InnerSocket:
    """A unix socket that only this process connects to: 0600, in the state directory, under a hidden name.

    ``name`` must be no other daemon's; a socket that a daemon of the same name left behind is removed.
    """

    def __init__(self, purpose: str, state: str, name: str) -> None:
        self.purpose = purpose
        self._name = f".hf-{zlib.crc32(name.encode()):08x}.in"
        self._directory = open_trusted(state)
        self.path = f"/proc/self/fd/{self._directory}/{self._name}"

    def bind(self, add_port: Callable[[str], object]) -> None:
        """Bind it through a gRPC server's ``add_port``.

        Raises:
            BootError: it cannot be bound.
        """
        _unlink_quietly(self._name, self._directory)
        try:
            bind_private(lambda: add_port(f"unix:{self.path}"))
        except RuntimeError as error:
            raise BootError(f"failed to get listener for {self.purpose}: {self._name} in state: {error}") from error

    def close(self) -> None:
        """Remove the socket."""
        _unlink_quietly(self._name, self._directory)
        os.close(self._directory)


def listen_unix(published: UnixSocket) -> socket.socket:
    """Return a listening, published socket for a server that takes one (ttrpc, metrics, debug).

    Raises:
        BootError: see `UnixSocket`.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        path = published.open()
        bind_private(lambda: sock.bind(path))
        sock.listen(BACKLOG)
        published.publish()
    except BaseException:
        sock.close()
        raise
    return sock


def listen_tcp(purpose: str, address: str) -> socket.socket:
    """Return a TCP socket that listens on ``host:port``; without a host on every address of both families, as gRPC's
    do.

    Raises:
        BootError: with the address and the kernel's reason.
    """
    host, port = split_address(purpose, address)
    both = not host and socket.has_dualstack_ipv6()
    name = "::" if both else host
    # ASCII as bytes: text would be encoded by a codec that takes a millisecond to import
    asked = (name.encode() if name.isascii() else name) or None
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            asked, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise tcp_refusal(purpose, address, error) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if both:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(where)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise tcp_refusal(purpose, address, error) from error
    return sock


def split_address(purpose: str, address: str) -> tuple[str, int]:
    """``host:port``, ``:port`` or ``[v6]:port`` as host and port.

    Raises:
        BootError: no port, or not a number.
    """
    host, colon, port = address.removeprefix("tcp://").rpartition(":")
    if not colon:
        raise BootError(f"failed to get listener for {purpose}: listen tcp: address {address}: missing port in address")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise BootError(f"failed to get listener for {purpose}: listen tcp: address {address}: invalid port")
    return host.strip("[]"), int(port)


def tcp_refusal(purpose: str, address: str, error: OSError) -> BootError:
    """The line for a TCP address the kernel refused."""
    reason = (error.strerror or str(error)).lower()
    return BootError(f"failed to get listener for {purpose}: listen tcp {address}: bind: {reason}")


def refuse_if_taken(path: str) -> None:
    """Check that ``path`` has no file, or a socket without a listener.

    Raises:
        BootError: a directory, another file, or a live daemon with its pid.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise BootError("is a directory")
    if not stat.S_ISSOCK(found.st_mode):
        raise BootError("exists and is not a socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            raise BootError(f"cannot determine whether it is in use: {error.strerror or error}") from error
        pid, _, _ = _UCRED.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    raise BootError(f"in use by a running process (pid {pid}); stop it or choose another address")


def bind_private(bind: Callable[[], object]) -> None:
    """Run ``bind`` so that the socket file is created with mode 0600, whatever the umask (`publish` widens it)."""
    before = os.umask(0o177)
    try:
        bind()
    finally:
        os.umask(before)


def _make(directory: Path) -> None:
    """Create a missing directory that all users can pass through: the socket's own mode and owner restrict access."""
    before = os.umask(0o066)  # made with its mode: a chmod afterwards could meet another file of this name
    try:
        directory.mkdir(parents=True, exist_ok=True)
    finally:
        os.umask(before)


def _unlink_quietly(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
