"""A thread that names the plugin whose init or close blocks the loop: nothing on the loop can do that.

It runs only while a plugin starts or closes, and for a moment after that.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct, field

from holdfast import failure, log

LOG = log.named(__name__)
LIMIT_S = 1.0  # without a turn of the loop


class _Step(Struct, eq=False):
    """One plugin's init or close, as long as it runs. ``turned`` is set when the loop runs meanwhile."""

    uri: str
    what: str
    loop: asyncio.AbstractEventLoop
    began: float = field(default_factory=time.monotonic)
    turned: threading.Event = field(default_factory=threading.Event)


class BlockWatch:
    """Watch over the plugins' inits and closes, which run one after the other on the loop's thread."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._step: _Step | None = None
        self._lock = threading.Lock()
        self._runs = False
        self._main = threading.get_ident()

    @contextmanager
    def during(self, uri: str, what: str) -> Iterator[None]:
        """Log the plugin ``uri`` if the block keeps the loop from running for longer than the limit."""
        with self._lock:
            self._step = _Step(uri, what, asyncio.get_running_loop())
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._watch, name="plugin watch", daemon=True).start()
        try:
            yield
        finally:
            self._step = None

    def _watch(self) -> None:
        asked: _Step | None = None
        told: _Step | None = None
        while True:
            time.sleep(self._limit_s / 2)
            with self._lock:
                step = self._step
                if step is None:
                    self._runs = False
                    return
            if step is not asked:
                asked = step
                try:
                    step.loop.call_soon_threadsafe(step.turned.set)
                except RuntimeError:  # the loop is closed
                    return
            elif step is not told and time.monotonic() - step.began >= self._limit_s and not step.turned.is_set():
                told = step
                self._tell(step)

    def _tell(self, step: _Step) -> None:
        frame = sys._current_frames().get(self._main)
        LOG.warning(
            f"plugin blocks the daemon in its {step.what}; call what blocks through asyncio.to_thread",
            id=step.uri,
            seconds=time.monotonic() - step.began,
            at=failure.running_place(frame),
            traceback="".join(traceback.format_stack(frame)),
        )
