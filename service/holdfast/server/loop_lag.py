"""Lag of the event loop: turns that take longer than 0.2 s are counted, and what runs in one is named while it runs.

No call, timer or stop is handled during a turn, so a method that blocks delays all others. The loop calls ``select``
between two turns, and asyncio takes the selector as an argument: `TimedSelector` measures each turn with two readings
of the clock. Only another thread can see the stack that blocks. It sleeps while the loop does.

A turn that is long because the machine has no processor for us is counted, but not blamed on a method.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from types import FrameType

from msgspec import Struct

from holdfast import failure, kernel_text, log
from holdfast.errors import HoldfastError
from holdfast.metrics import Histogram
from holdfast.server import thread_dump

LOG = log.named(__name__)
LIMIT_S = 0.2
_BOUNDS_S = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class LoopLag:
    """The lag of one loop, while `watched`; ``limit_s`` seconds are too long for a turn."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.seconds = Histogram(
            "holdfast_loop_blocked_seconds",
            "Turns of the event loop longer than 0.2 s; no call was answered meanwhile.",
            bounds=_BOUNDS_S,
        )
        self._limit_s = limit_s
        self._began = 0.0  # of the current turn; 0 while the loop sleeps, and while nothing is watched
        self._is_watched = self._is_parked = False
        self._turns = threading.Event()

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return a new loop whose turns are measured."""
        return asyncio.SelectorEventLoop(TimedSelector(self))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count and name long turns of the running loop meanwhile."""
        self._is_watched = True
        place = _Place(threading.get_ident(), threading.get_native_id(), asyncio.get_running_loop())
        threading.Thread(target=self._watch, args=(place,), name="loop watch", daemon=True).start()
        try:
            yield
        finally:
            self._is_watched, self._began = False, 0.0
            self._turns.set()

    def turn_begins(self) -> None:
        """Measure from now on."""
        if self._is_watched:
            self._began = perf_counter()
            if self._is_parked:
                self._turns.set()

    def turn_ends(self) -> None:
        """Count the turn if it was long."""
        if self._began:
            seconds = perf_counter() - self._began
            if seconds > self._limit_s:
                self.seconds.observe(seconds)
            self._began = 0.0

    def _watch(self, place: _Place) -> None:
        seen = told = waited_s = 0.0
        while self._is_watched:
            if not self._began:
                self._is_parked = True
                if not self._began and self._is_watched:  # neither began before the loop could see that we wait
                    self._turns.wait()
                self._is_parked = False
                self._turns.clear()
            time.sleep(self._limit_s / 2)
            began = self._began
            if began != seen:
                seen, waited_s = began, place.waited_for_processor_s()
                continue
            seconds = perf_counter() - began
            if not began or began == told or seconds < self._limit_s:
                continue
            if place.waited_for_processor_s() - waited_s < seconds / 2:
                frame, task = place.running()
                if self._began == began:  # still the same turn
                    told = began
                    _name(seconds, frame, task)


class _Place(Struct, frozen=True):
    """Where a loop runs: the thread, by Python's number and by the kernel's."""

    thread: int
    native: int
    loop: asyncio.AbstractEventLoop

    def running(self) -> tuple[FrameType | None, asyncio.Task[object] | None]:
        """Return the stack of the thread, and the task that runs in it."""
        return sys._current_frames().get(self.thread), asyncio.current_task(self.loop)

    def waited_for_processor_s(self) -> float:
        """Return how long the thread has waited for a processor, in seconds; 0 where the kernel does not say.

        ``/proc/PID/schedstat``: ``709672 7001087 3``, nanoseconds on a processor and waiting for one, and time slices.
        """
        try:
            text = kernel_text.read(f"/proc/self/task/{self.native}/schedstat")
            return int(kernel_text.words(text)[1]) / 1e9
        except (HoldfastError, ValueError, IndexError):
            return 0.0


class TimedSelector(selectors.EpollSelector):
    """The selector of a loop, which reports where each turn begins and ends."""

    def __init__(self, lag: LoopLag) -> None:
        super().__init__()
        self._lag = lag

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        self._lag.turn_ends()
        found = super().select(timeout)
        self._lag.turn_begins()
        return found


def _name(seconds: float, frame: FrameType | None, task: asyncio.Task[object] | None) -> None:
    call = thread_dump.call_of(one for one, _ in traceback.walk_stack(frame))
    what = {"method": call.full_method} if call is not None else {"task": task.get_name()} if task is not None else {}
    LOG.warning(
        "the daemon is blocked; call what blocks through asyncio.to_thread",
        seconds=seconds,
        at=failure.running_place(frame),
        traceback="".join(traceback.format_stack(frame)),
        **what,
    )
