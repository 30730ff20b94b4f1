"""What each signal does. Handlers are Python's own, not the loop's: they run even while a plugin's init blocks.

TERM and INT ask for the drain, a second one cuts it short; HUP reloads; USR1 writes every stack to a file. If
the loop does not come back within the limit after TERM, a thread ends the process with one line: a plugin that
blocks the loop must not make the node's daemon unkillable (containerd#3478).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from holdfast import log

LOG = log.named(__name__)
Action = Callable[[], object]


class Interrupted(Exception):
    """The stop was asked for before the boot had ended: a normal outcome."""


class StopRequest:
    """That the daemon was asked to stop; `hurry` is set when it was asked again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.limit_s = limit_s
        self._loop = loop
        self._count = 0
        self._interrupt: Callable[[], object] | None = None

    def ask(self, name: str) -> None:
        """Ask, from a signal handler or any thread."""
        self._count += 1
        if self._count == 1:
            watchdog = threading.Timer(self.limit_s, _give_up, (self.limit_s,))
            watchdog.daemon = True
            watchdog.start()
        event = self.asked if self._count == 1 else self.hurry
        self._loop.call_soon_threadsafe(self._set, event, name)

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """Cancel this task as soon as the stop is asked for, for a block that waits for nothing else (the boot).

        Raises:
            Interrupted: the stop came while the block ran.
        """
        task = asyncio.current_task()
        assert task is not None
        self._interrupt = task.cancel
        if self.asked.is_set():
            raise Interrupted
        try:
            yield
        except asyncio.CancelledError:
            if not self.asked.is_set():
                raise
            task.uncancel()
            raise Interrupted from None
        finally:
            self._interrupt = None

    def _set(self, event: asyncio.Event, name: str) -> None:
        LOG.debug("received signal", signal=name)
        event.set()
        if self._interrupt is not None:
            self._interrupt()


@contextmanager
def handled(stop: StopRequest, reload: Action, stacks: Action) -> Iterator[None]:
    """Install the handlers for a block; ``reload`` and ``stacks`` are called on the loop's thread."""
    loop = asyncio.get_running_loop()

    def on(number: int, _: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            stop.ask(signal.Signals(number).name)
        else:
            loop.call_soon_threadsafe(reload if number == signal.SIGHUP else stacks)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.signal(number, on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _give_up(limit_s: float) -> None:
    sys.stderr.write(f"holdfast: stop: still not stopped {limit_s:g}s after the signal; giving up\n")
    sys.stderr.flush()
    os._exit(1)
