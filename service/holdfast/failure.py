"""Text of an error raised by code of a plugin's author: its sentence, the place in the author's code, the traceback.

The author's code is every file that belongs neither to holdfast nor to a library that holdfast calls it through.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Iterator
from types import FrameType

from holdfast.errors import HoldfastError, Internal

LONGEST = 16_384  # characters of a traceback; the middle of a longer one is left out
_DEPTH = 3  # of groups in groups
_OURS = os.path.dirname(__file__) + os.sep
_CALLERS = tuple(  # they call the author's code: a place in them says nothing
    _OURS + file for file in ("plugin/", "plugins/__init__", "config/section", "server/", "listener/")
)
_STDLIB = os.path.dirname(os.__file__) + os.sep
_LIBRARIES = tuple(f"{os.sep}site-packages{os.sep}{name}{os.sep}" for name in ("grpc", "google", "msgspec"))


def sentence(error: BaseException, depth: int = 0) -> str:
    """``ValueError: torn``; an error of ours has its own sentence, a group's has those of its members."""
    if isinstance(error, BaseExceptionGroup) and depth < _DEPTH:
        inside = "; ".join(sentence(one, depth + 1) for one in error.exceptions)
        return f"{type(error).__name__}: {error}: {inside}"
    words = str(error)
    if isinstance(error, HoldfastError) and words:
        return words
    if isinstance(error, asyncio.CancelledError) and not words:
        return "something that it awaited was cancelled"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def contained(error: BaseException) -> Exception:
    """Return what an author's code raised as an error that ends neither a task of the daemon nor the daemon.

    Raises:
        BaseException: ``error`` itself, if it ends the running task by our own will.
    """
    if isinstance(error, Exception):
        return error
    if ends_the_task(error):
        raise error
    found = Internal(
        f"it asked the process to exit with {error.code}" if isinstance(error, SystemExit) else sentence(error)
    )
    found.word, found.__cause__ = "", error
    return found


def ends_the_task(error: BaseException) -> bool:
    """Whether the running task itself was cancelled or closed, and not just something that it awaited."""
    if isinstance(error, GeneratorExit):
        return True
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def place(error: BaseException) -> str:
    """``file:line`` of the innermost frame in the author's code; without one, where it was raised; "" where unknown."""
    innermost = ""
    for one in _related(error):
        if isinstance(one, SyntaxError) and one.filename:
            return f"{one.filename}:{one.lineno}"
        frames = traceback.walk_tb(one.__traceback__)
        places = [(frame.f_code.co_filename, f"{frame.f_code.co_filename}:{number}") for frame, number in frames]
        theirs = [shown for file, shown in places if _is_authors(file)]
        if theirs:
            return theirs[-1]
        named = [shown for file, shown in places if not file.startswith(("<", *_CALLERS))]
        innermost = innermost or (named[-1] if named else "")
    return innermost


def running_place(frame: FrameType | None) -> str:
    """``file:line`` of the innermost frame of a stack in the author's code; without one, of its innermost frame."""
    places = [(one.f_code.co_filename, number) for one, number in traceback.walk_stack(frame)]  # innermost first
    for file, number in [*(one for one in places if _is_authors(one[0])), *places]:
        return f"{file}:{number}"
    return ""


def trace(error: BaseException) -> str:
    """The traceback as Python prints it, with chained errors and the members of groups."""
    text = "".join(traceback.format_exception(error)).rstrip()
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]}\n…\n{text[-half:]}"


def fields(error: BaseException, *, traced: bool = True) -> dict[str, str]:
    """The fields of a log line about ``error``: ``error``, ``at`` and, with ``traced``, ``traceback``."""
    found = {"error": sentence(error)}
    if at := place(error):
        found["at"] = at
    if traced:
        found["traceback"] = trace(error)
    return found


def _related(error: BaseException, depth: int = 0) -> Iterator[BaseException]:
    """The members of a group, then the error, then the error it was raised from."""
    if isinstance(error, BaseExceptionGroup) and depth < _DEPTH:
        for one in error.exceptions:
            yield from _related(one, depth + 1)
    yield error
    if depth == _DEPTH:
        return
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _related(cause, depth + 1)


def _is_authors(file: str) -> bool:
    if file.startswith((_OURS, "<")) or any(library in file for library in _LIBRARIES):
        return False
    return not file.startswith(_STDLIB) or f"{os.sep}site-packages{os.sep}" in file
