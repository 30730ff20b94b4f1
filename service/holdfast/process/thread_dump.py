"""Stacks of every thread and every task, for SIGUSR1 and the debug endpoint."""

from __future__ import annotations

import asyncio
import io
import linecache
import os
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from types import FrameType

from holdfast import log

LOG = log.named(__name__)


def text() -> str:
    """Return the stacks of all threads, then of all tasks by name."""
    out = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        out.write(f"thread {names.get(ident, '?')} ({ident}):\n{_frames(frame)}\n")
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # not on the loop's thread
        tasks = set()
    for task in sorted(tasks, key=lambda task: task.get_name()):
        out.write(f"task {task.get_name()}:\n")
        out.write("".join(map(_line, task.get_stack())) + "\n")
    return out.getvalue()


def _frames(innermost: FrameType) -> str:
    return "".join(_line(frame) for frame, _ in reversed(list(traceback.walk_stack(innermost))))


def _line(frame: FrameType) -> str:
    """One frame as `traceback` prints it; a compiled coroutine (gRPC's, uvloop's) has no line number."""
    code = frame.f_code
    number: int | None = frame.f_lineno
    source = linecache.getline(code.co_filename, number).strip() if number else ""
    return f'  File "{code.co_filename}", line {number or "?"}, in {code.co_name}\n' + (source and f"    {source}\n")


def write() -> str:
    """Write the stacks to ``$TMPDIR/holdfast.<pid>.stacks.log`` (0600), log them, and return the path."""
    stacks = text()
    path = os.path.join(tempfile.gettempdir(), f"holdfast.{os.getpid()}.stacks.log")
    LOG.info("=== BEGIN stack dump ===\n" + stacks + "=== END stack dump ===")
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)  # an earlier dump; what another user put there must not be written to, nor waited for
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(stacks)
    except OSError as error:
        LOG.error("stack dump not written", path=path, error=error)
    else:
        LOG.info(f"stack dump written to {path}")
    return path
