"""Stacks of every thread and every task, for SIGUSR1 and the debug endpoint.

A task that waits has only its outermost frame on record; the frames below are those of the coroutines that each one
awaits. The frames of our layers also show which call or job runs in a task, and since when.
"""

from __future__ import annotations

import asyncio
import gc
import io
import linecache
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from time import perf_counter
from types import AsyncGeneratorType, CoroutineType, FrameType

from holdfast import log
from holdfast.listener import ttrpc_layer
from holdfast.rpc import layer
from holdfast.rpc.call_scope import CallScope
from holdfast.server import tasks as server_tasks
from holdfast.server.deadline import Leavable

LOG = log.named(__name__)
_LAYERS = {layer.__file__, ttrpc_layer.__file__, server_tasks.__file__}
_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")


def text() -> str:
    """Return the stacks of all threads, then of all tasks by name."""
    out = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        out.write(f"thread {names.get(ident, '?')} ({ident}):\n{_frames(frame)}\n")
    return out.getvalue() + tasks()


def tasks() -> str:
    """Return the tasks by name: each with its age, as far as it is known, its call, and its stack."""
    try:
        found = asyncio.all_tasks()
    except RuntimeError:  # not on the loop's thread
        found = set()
    out = io.StringIO()
    for task in sorted(found, key=lambda task: task.get_name()):
        frames = task.get_stack() if task is asyncio.current_task() else list(awaited_frames(task.get_coro()))
        about = [task.get_name()]
        if (call := call_of(frames)) is not None:
            about.append(call.full_method)
        if (began_s := _began_s(frames)) is not None:
            about.append(f"for {perf_counter() - began_s:.3f}s")
        out.write(f"task {' '.join(about)}:\n" + "".join(map(_line, frames)) + "\n")
    return out.getvalue()


def call_of(frames: Iterable[FrameType]) -> CallScope | None:
    """Return the call that runs in a stack; None if none does."""
    for frame in frames:
        if frame.f_code.co_filename in _LAYERS and isinstance(scope := frame.f_locals.get("scope"), CallScope):
            return scope
    return None


def awaited_frames(awaited: object) -> Iterator[FrameType]:
    """Yield the frames of a coroutine that waits and of the coroutines it awaits, outermost first."""
    while awaited is not None:
        frame = next((one for one in (getattr(awaited, name, None) for name in _FRAMES) if one is not None), None)
        if isinstance(frame, FrameType):
            yield frame
            if frame.f_code is Leavable.__await__.__code__:  # it drives another coroutine by hand
                awaited = frame.f_locals["self"].work
                continue
        if frame is None:  # what `await` makes of a coroutine or generator shows neither; the collector sees through it
            inside = gc.get_referents(awaited)
            awaited = next((one for one in inside if isinstance(one, CoroutineType | AsyncGeneratorType)), None)
        else:
            behind = (getattr(awaited, name, None) for name in _AWAITED)
            awaited = next((one for one in behind if one is not None), None)


def _began_s(frames: Iterable[FrameType]) -> float | None:
    for frame in frames:
        if frame.f_code.co_filename in _LAYERS:
            began = getattr(frame.f_locals.get("scope", frame.f_locals.get("running")), "began_s", None)
            if isinstance(began, float):
                return began
    return None


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
