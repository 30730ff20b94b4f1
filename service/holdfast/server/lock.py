"""Lock on ``<root>/holdfast.lock``: one daemon per directory. It ends with the process, however the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from holdfast.errors import BootError

NAME = "holdfast.lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock the directory. The file has the holder's pid; it is left behind unlocked, as its removal would be a race.

    Raises:
        BootError: another process holds the lock (the message has its pid), or the file cannot be opened.
    """
    path = directory / NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BootError(f"lock: {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise BootError(
                f"root: {directory}: in use by a running holdfast (pid {holder});"
                " stop it, or give this one its own --root"
            ) from None
        with suppress(OSError):  # a full disk: the lock holds all the same, and only a refusal lacks the pid
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
