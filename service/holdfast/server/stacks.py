"""What every thread and every task is doing now, for SIGUSR1 and the debug endpoint."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tempfile
import threading
import traceback

from holdfast import log

LOG = log.named(__name__)


def text() -> str:
    """Stacks of all threads, then of all tasks by name."""
    out = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        out.write(f"thread {names.get(ident, '?')} ({ident}):\n{''.join(traceback.format_stack(frame))}\n")
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # not on the loop's thread
        tasks = set()
    for task in sorted(tasks, key=lambda task: task.get_name()):
        out.write(f"task {task.get_name()}:\n")
        task.print_stack(file=out)
        out.write("\n")
    return out.getvalue()


def write() -> str:
    """Write the stacks to ``$TMPDIR/holdfast.<pid>.stacks.log`` (0600), log them, and give the path."""
    stacks = text()
    path = os.path.join(tempfile.gettempdir(), f"holdfast.{os.getpid()}.stacks.log")
    LOG.info("=== BEGIN stack dump ===\n" + stacks + "=== END stack dump ===")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(stacks)
    except OSError as error:
        LOG.error("stack dump not written", path=path, error=error)
    else:
        LOG.info(f"stack dump written to {path}")
    return path
