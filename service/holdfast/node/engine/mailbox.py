"""What other threads ask of the engine's thread, done there in order."""

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
    """`ask` and `tell` are for any thread, `carry_out` for the one they are asked of.

    ``tell_first`` is called between a call and its answer: what came of it is told by then.
    """

    def __init__(self, tell_first: Act) -> None:
        self._tell_first = tell_first
        self._waiting: deque[tuple[Act, Future[Any] | None]] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._ended = False

    def ask(self, act: Callable[[], T]) -> Future[T]:
        """Have something done, and have its answer.

        Raises (in the future):
            Unavailable: the thread ended.
        """
        done: Future[T] = Future()
        self._give(act, done)
        return done

    def tell(self, act: Act) -> None:
        """Have something done that nobody waits for."""
        self._give(act, None)

    def _give(self, act: Act, done: Future[Any] | None) -> None:
        self._waiting.append((act, done))
        if self._ended:
            self._refuse()
        else:
            os.eventfd_write(self._event, 1)

    def fileno(self) -> int:
        """For poll: readable when there is something to do; -1 when closed."""
        return self._event

    def heard(self) -> None:
        """Nothing is new any more, as far as poll is concerned."""
        os.eventfd_read(self._event)

    def carry_out(self) -> None:
        """Do what waits. What raises among that which somebody waits for is their answer."""
        while self._waiting:
            act, done = self._waiting.popleft()
            if done is None:
                try:
                    act()
                except Exception as error:  # nobody waits for it, and the others that wait must not go without
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
        """The thread ended: what waits, and what comes, is refused."""
        self._ended = True
        self._refuse()

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._event)
        self._event = -1

    def _refuse(self) -> None:
        while self._waiting:
            with contextlib.suppress(IndexError):  # somebody else refuses, too
                _, done = self._waiting.popleft()
                if done is not None and done.set_running_or_notify_cancel():
                    done.set_exception(Unavailable("the placement engine has ended; the log says why"))
