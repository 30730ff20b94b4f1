"""Calls from other threads to the engine's thread, carried out there in order."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from holdfast import log
from holdfast.errors import Unavailable

LOG = log.named(__name__)
T = TypeVar("T")
Act = Callable[[], Any]


class Calls:
    """`ask` and `tell` are for any thread, `carry_out` for the thread that carries out the calls.

    ``tell_first`` is called between a call and its answer, so that the reports of the call are sent before the answer.
    """

    def __init__(self, tell_first: Act) -> None:
        self._tell_first = tell_first
        self._waiting: deque[tuple[Act, Future[Any] | None]] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ended = False

    def ask(self, act: Callable[[], T]) -> Future[T]:
        """Request a call; the future has its answer.

        Raises (in the future):
            Unavailable: the thread ended.
        """
        done: Future[T] = Future()
        self._give(act, done)
        return done

    def tell(self, act: Act) -> None:
        """Request a call without an answer."""
        self._give(act, None)

    def _give(self, act: Act, done: Future[Any] | None) -> None:
        self._waiting.append((act, done))
        if self._ended:
            self._refuse()
        else:
            os.eventfd_write(self._event, 1)

    @property
    def waiting(self) -> bool:
        """Whether a call waits."""
        return bool(self._waiting)

    def fileno(self) -> int:
        """Return the descriptor for poll: readable when a call waits; -1 when closed."""
        return self._event

    def heard(self) -> None:
        """Reset the descriptor, so that poll waits again."""
        os.eventfd_read(self._event)

    def carry_out(self) -> None:
        """Carry out the calls that wait now. An exception of a call with a future becomes its answer.

        A call that comes meanwhile waits for the next turn, which begins with the events: callers that call again as
        soon as they are answered must not delay these.
        """
        left = len(self._waiting)
        while left and self._waiting:  # `end` may take the rest
            left -= 1
            act, done = self._waiting.popleft()
            if done is None:
                try:
                    act()
                except Exception as error:  # this call has no future, and the other calls must still be carried out
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    at = f"{where.filename}:{where.lineno}"
                    LOG.error("a call to the placement engine failed", error=f"{type(error).__name__}: {error}", at=at)
            elif done.set_running_or_notify_cancel():
                try:
                    answer = act()
                    self._tell_first()
                    done.set_result(answer)
                except BaseException as error:
                    done.set_exception(error)

    def end(self) -> None:
        """Refuse the waiting calls and all later ones: the thread ended."""
        self._ended = True
        self._refuse()

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._event)
        self._event = -1

    def _refuse(self) -> None:
        while self._waiting:
            with contextlib.suppress(IndexError):  # another thread refuses, too
                _, done = self._waiting.popleft()
                if done is not None and done.set_running_or_notify_cancel():
                    done.set_exception(Unavailable("the placement engine has ended; the log says why"))
