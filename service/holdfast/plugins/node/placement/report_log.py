"""The latest reports of the engine, for watchers: live, after a snapshot, or after a lost connection.

Theory: every report has a number, one more than the report before. A watcher is a number, too: that of the last report
that it was given. So one log serves all watchers, a watcher that begins again continues at its number, and a watcher is
too slow when its next report is no longer kept. A watcher begins

- now: at the number of the last report;
- with a snapshot: at the number that was read on the engine's thread together with the placements, after the reports
  about them were appended (`Engine.snapshot`). Changes that the snapshot has were reported up to this number, and all
  others are reported after it: no report is given twice, and none is lost;
- at a token, which is a number and the name of the run of the daemon to which it belongs.

Reports are appended before the watchers are woken, and a watcher looks for reports after it cleared its wake. So it
never waits for a report that is there already.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.errors import OutOfRange, ResourceExhausted
from holdfast.node.model.placement import Report
from holdfast.plugins.node.placement.error_reason import invalid

WATCHERS_AT_MOST = 128
WATCHED_AT_MOST = 10_000  # reports that may wait for a watcher; a reload of rules makes one of each process
KEPT = 1000  # reports while there is no watcher: 0.5 MB, for one that lost its connection


class ReportLog:
    """Keeps the latest reports. `append` is for any thread, all else for the loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: deque[Report] = deque()
        self._last = 0
        self._run = os.urandom(4).hex()
        self._wakes: set[asyncio.Event] = set()

    @property
    def is_watched(self) -> bool:
        """Whether there is a watcher."""
        return bool(self._wakes)

    @property
    def last(self) -> int:
        """The number of the last report; 0: none yet. For any thread."""
        return self._last

    def append(self, report: Report) -> None:
        """Keep a report. The watchers are not woken."""
        with self._lock:
            self._reports.append(report)
            self._last += 1
            most = WATCHED_AT_MOST if self._wakes else KEPT
            while len(self._reports) > most:
                self._reports.popleft()

    def wake(self) -> None:
        """Let the watchers read."""
        for wake in self._wakes:
            wake.set()

    @contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """Be a watcher: the event is set after reports were appended.

        Raises:
            ResourceExhausted: `WATCHERS_AT_MOST` clients watch already.
        """
        if len(self._wakes) >= WATCHERS_AT_MOST:
            raise ResourceExhausted(f"{WATCHERS_AT_MOST} clients watch already", reason="TOO_MANY_WATCHERS")
        wake = asyncio.Event()
        self._wakes.add(wake)
        try:
            yield wake
        finally:
            self._wakes.discard(wake)

    def after(self, number: int) -> Report | None:
        """Return the report after this number; None: it is the last one.

        Raises:
            ResourceExhausted: it is no longer kept: too many came while the watcher read.
        """
        with self._lock:
            at = number - self._last + len(self._reports)
            if at < 0:
                raise ResourceExhausted(
                    f"more than {WATCHED_AT_MOST} reports were waiting to be read", reason="WATCHER_TOO_SLOW"
                )
            return self._reports[at] if at < len(self._reports) else None

    def token(self, number: int) -> str:
        """Return the token with which a watcher begins after this report."""
        return f"{self._run}.{number}"

    def number(self, token: str) -> int:
        """Return the number in a token, if all reports after it are kept.

        Raises:
            InvalidArgument: this is no token.
            OutOfRange: reports after it are lost, or it is of another run of the daemon.
        """
        run, _, digits = token.partition(".")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 20):
            raise invalid("resume_token", "this is no token of a report")
        number = int(digits)
        with self._lock:
            is_kept = self._last - len(self._reports) <= number <= self._last
        if run != self._run or not is_kept:
            raise OutOfRange(
                "resume_token: reports after it are lost: begin with a snapshot",
                reason="RESUME_TOKEN_EXPIRED",
                field="resume_token",
            )
        return number
