"""Signal handlers. They are Python's own, not the loop's: they run even while a plugin's init blocks.

TERM and INT start the drain, a second one cuts it short; HUP reloads; USR1 writes every stack to a file. If the daemon
has not stopped within the limit after TERM, an alarm ends it with one line: a plugin that blocks the loop must not make
the node's daemon unkillable (containerd#3478). A daemon that ends because it is useless has a limit, too.

A handler only writes the signal's number to a pipe that the loop reads. `call_soon_threadsafe` from a handler lost a
wake-up under uvloop when a second signal came within 0.2 ms of the first: the daemon then slept through its own stop.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from holdfast import failure, log

LOG = log.named(__name__)
Action = Callable[[], object]
Handler = Callable[[int, FrameType | None], None]
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_WORKING = (signal.SIGHUP, signal.SIGUSR1)
_installed: dict[signal.Signals, Handler] = {}  # by `handled`


class Interrupted(Exception):
    """A stop was requested before the boot had ended: a normal outcome."""


class StopRequest:
    """State of the stop request. `hurry` is set by a second request or a failure. ``failure``: why the daemon ends by
    itself.
    """

    def __init__(self, limit_s: float) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.failure = ""
        self.limit_s = limit_s
        self._interrupt: Callable[[], object] | None = None

    def ask(self, name: str) -> None:
        """Record a stop request by the signal ``name``. Loop thread only."""
        LOG.debug("received signal", signal=name)
        if self.asked.is_set():
            self.hurry.set()
        self._ask()

    def _ask(self) -> None:
        self.asked.set()
        if self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            interrupt()

    def fail(self, why: str, limit_s: float) -> None:
        """Stop within ``limit_s`` seconds, because the daemon is useless. Loop thread only."""
        self.failure = self.failure or why
        if signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0):
            self.limit_s = limit_s
            signal.setitimer(signal.ITIMER_REAL, limit_s)
        self.hurry.set()
        self._ask()

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """Cancel this task at a stop request, for a block that does not wait for the request itself (the boot).

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


@contextmanager
def handled(stop: StopRequest, reload: Action, stacks: Action) -> Iterator[None]:
    """Install the handlers for a block; ``reload`` and ``stacks`` are called on the loop's thread."""
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def on(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGALRM:
            _give_up(stop, frame)
        if number in _STOPPING and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0):
            signal.setitimer(signal.ITIMER_REAL, stop.limit_s)
        with suppress(BlockingIOError):  # thousands are waiting already: one more says nothing new
            os.write(writing, bytes((number,)))

    def on_readable() -> None:
        for number in os.read(reading, 4096):
            if number in _STOPPING:
                stop.ask(signal.Signals(number).name)
            else:
                (reload if number == signal.SIGHUP else stacks)()

    before = {number: signal.signal(number, on) for number in (*_STOPPING, *_WORKING, signal.SIGALRM)}
    _installed.update(dict.fromkeys(before, on))
    loop.add_reader(reading, on_readable)
    try:
        yield
    finally:
        _installed.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        loop.remove_reader(reading)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def regained() -> list[str]:
    """Set the handlers again that something else replaced; return the names of their signals."""
    replaced = [number for number, handler in _installed.items() if signal.getsignal(number) is not handler]
    for number in replaced:
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, _installed[number])
    return [signal.Signals(number).name for number in sorted(replaced)]


def _give_up(stop: StopRequest, frame: FrameType | None) -> NoReturn:
    late = f"still not stopped {stop.limit_s:g}s after"
    words = f"{stop.failure}; {late} that" if stop.failure else f"stop: {late} the signal"
    os.write(2, f"holdfast: {words}; giving up at {failure.running_place(frame)}\n".encode())
    os._exit(1)
