"""The daemon's event loop: asyncio's own, with a selector that decides when to sleep and when to poll.

Waking a sleeping thread takes 20 to 100 µs if its processor went idle meanwhile, more than a call costs. So a wait that
follows a short one begins by polling without sleeping, as KVM does for its guests
(``Documentation/virt/kvm/halt-polling.rst``). A wait that takes longer than `WINDOW_S` sleeps as usual, and the wait
after it sleeps at once: messages further apart than `WINDOW_S` cost nothing more, and the last one of a burst costs one
window. A gRPC client in Python takes 150 to 250 µs to send its next call.

Also, asyncio polls the kernel before every turn, though a call takes a dozen turns that already have work. Such a turn
polls only if the last poll was a window ago.
"""

from __future__ import annotations

import asyncio
import os
import selectors
from time import monotonic

#: Seconds: how long a wait polls without sleeping, what the wait before it must have been shorter than, and how long
#: turns that have work go without a poll.
WINDOW_S = 300e-6

Ready = list[tuple[selectors.SelectorKey, int]]


class LookingSelector(selectors.EpollSelector):
    """Selector on epoll(7), for a loop that polls before every turn."""

    def __init__(self) -> None:
        super().__init__()
        self._was_short = False
        self._looked = 0.0

    def select(self, timeout: float | None = None) -> Ready:
        """Select as in `selectors.BaseSelector`, in seconds, None indefinitely; ready files may be reported a
        window later.
        """
        began = monotonic()
        if timeout is not None and timeout <= 0:
            if began - self._looked < WINDOW_S:
                return []
            self._looked = began
            return super().select(0)
        ready = self._wait(timeout, began)
        self._looked = now = monotonic()
        self._was_short = now - began < WINDOW_S
        return ready

    def _wait(self, timeout: float | None, began: float) -> Ready:
        look = super().select
        if self._was_short and (timeout is None or timeout > WINDOW_S):
            while monotonic() - began < WINDOW_S:
                ready = look(0)
                if ready:
                    return ready
                os.sched_yield()  # the peer that we wait for may need this very processor
            if timeout is not None:
                timeout -= WINDOW_S
        return look(timeout)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a loop for ``asyncio.Runner(loop_factory=…)``; the plain one if only one processor is available."""
    if len(os.sched_getaffinity(0)) == 1:
        return asyncio.SelectorEventLoop()
    return asyncio.SelectorEventLoop(LookingSelector())
