"""Rescans every process: decides when, works in slices, and clears up afterwards.

A rescan never sees a process that came after it listed ``/proc``. Events report it, or the next rescan finds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Generator, Iterable
from concurrent.futures import Future

from holdfast import log
from holdfast.errors import HoldfastError, ProcessGone
from holdfast.node.engine.examiner import Examiner
from holdfast.node.model.placement import Cause, Sweep

LOG = log.named(__name__)
LOST_SHARE = 20  # rescans for events that were lost, or not served, take one part in so many of the time
SLICE = 100  # processes between two reads of the events: 0.6 ms where no rule can match them


class Sweeps:
    """Runs one rescan at a time, a slice for each `step`.

    ``begin`` is called with the cause when a rescan begins and may return another one; ``end`` is called with each
    completed rescan.
    """

    def __init__(
        self,
        rescan_s: float,
        examiner: Examiner,
        begin: Callable[[Cause], Cause],
        end: Callable[[Sweep], None],
    ) -> None:
        self.last: Sweep | None = None
        self._due = self._rested = 0.0
        self._rescan_s, self._examiner = rescan_s, examiner
        self._begin, self._end = begin, end
        self._wanted: Cause | None = Cause.START
        self._asked: list[Future[Sweep]] = []
        self._going: Generator[None, None, None] | None = None

    @property
    def pending(self) -> bool:
        """Whether `step` has something to do."""
        return self._going is not None or (self._wanted is not None and not self._rests())

    @property
    def due(self) -> float:
        """When the next rescan comes by itself; monotonic."""
        return min(self._due, self._rested) if self._wanted is not None else self._due

    def _rests(self) -> bool:
        """Whether the wanted rescan waits: a program that makes events too fast to read causes no endless rescan."""
        return self._wanted is Cause.LOST_EVENTS and time.monotonic() < self._rested

    def want(self, cause: Cause) -> None:
        """Request a rescan from its beginning, even if one is under way; for lost events, after that one has ended.

        Otherwise a program that makes events faster than they are read would keep every rescan from completing.
        """
        if self._wanted in (None, Cause.LOST_EVENTS):
            self._wanted = cause

    def ask(self, done: Future[Sweep]) -> None:
        """Request a rescan as `want` does; ``done`` has its result."""
        self._asked.append(done)
        self.want(Cause.ASKED)

    def give_up(self) -> None:
        """Stop rescanning and cancel the waiting futures."""
        if self._going is not None:
            self._going.close()
        for done in self._asked:
            done.cancel()

    def step(self) -> None:
        """Begin a rescan that is wanted or due, and do a slice of the one under way."""
        is_wanted = self._wanted not in (None, Cause.LOST_EVENTS)
        if self._going is None and not is_wanted and time.monotonic() >= self._due:
            self._wanted = Cause.PERIOD
        begins = self._wanted is not None and not self._rests()
        if begins and not (self._going is not None and self._wanted is Cause.LOST_EVENTS):
            assert self._wanted is not None
            if self._going is not None:
                self._going.close()  # its callers wait for the new one
            cause, self._wanted = self._wanted, None
            asked, self._asked = self._asked, []
            self._going = self._sweep(cause, asked)
        if self._going is not None and next(self._going, self) is self:
            self._going = None

    def _sweep(self, cause: Cause, waiters: list[Future[Sweep]]) -> Generator[None, None, None]:
        spent, examiner = 0.0, self._examiner
        try:
            begun = time.monotonic()
            cause = self._begin(cause)
            begun_ticks = examiner.context.now().ticks
            examiner.fact_reader.refresh_groups()
            examiner.reconciler.begin()
            self._check_journal()
            numbers = examiner.context.reader.numbers()
            gone: list[int] = []  # forgotten at the end: only their rows identify their children
            for first in range(0, len(numbers), SLICE):
                part = numbers[first : first + SLICE]
                self._examine_part(part, self._known_of(part), gone)
                spent += time.monotonic() - begun
                yield
                begun = time.monotonic()
            gone += self._known_beside(numbers)
            for first in range(0, len(gone), SLICE):
                self._forget(gone[first : first + SLICE])
                spent += time.monotonic() - begun
                yield
                begun = time.monotonic()
            examiner.reconciler.claims.end_round()
            try:
                examiner.clear_up()
                examiner.journal.tidy()
            except Exception as error:  # the next rescan tries again
                LOG.warning("cannot clear up after a rescan", error=error)
            spent += time.monotonic() - begun
        except BaseException:  # it begins again, or failed and the next rescan answers
            self._asked += waiters
            raise
        examiner.all_seen_before = begun_ticks
        if cause is not Cause.LOST_EVENTS:
            self._due = time.monotonic() + self._rescan_s
        self._rested = time.monotonic() + spent * (LOST_SHARE - 1)
        self.last = Sweep(cause, len(numbers), spent)
        self._end(self.last)
        for done in waiters:
            done.set_result(self.last)

    def _known_of(self, numbers: Iterable[bytes]) -> Container[bytes]:
        """Return the known processes of a slice: a set of all of 10,000 processes is a megabyte."""
        entries, processes = self._examiner.reconciler.entries, self._examiner.reconciler.table.processes
        if not (entries or processes):
            return ()
        return {number for number in numbers if int(number) in entries or int(number) in processes}

    def _known_beside(self, numbers: Iterable[bytes]) -> list[int]:
        """Return the known processes that are not in ``numbers``: they ended, or came since."""
        known = {*self._examiner.reconciler.entries, *self._examiner.reconciler.table.processes}
        if not known:
            return []
        return list(known.difference(map(int, numbers)))

    def _check_journal(self) -> None:
        try:
            self._examiner.journal.check()
        except HoldfastError as error:  # reported with the first change that is not written because of it
            LOG.debug("the journal's file is not there", error=error)

    def _examine_part(self, numbers: Iterable[bytes], known: Container[bytes], gone: list[int]) -> None:
        """Examine a slice. A process that no rule can match costs one file and one set lookup, or two of each."""
        examiner, reader = self._examiner, self._examiner.context.reader
        for pid, text in reader.iter_candidates(
            numbers, examiner.fact_reader.match_cache.seen, known, examiner.fact_reader.parents
        ):
            try:
                examiner.examine_stat_line(reader.stat_line(pid, text))
            except ProcessGone:
                gone.append(pid)
            except Exception as error:
                examiner.log_unreadable(pid, error)

    def _forget(self, pids: Iterable[int]) -> None:
        """Forget processes that ended. A later process with the same pid was examined, or will be."""
        reader, ended = self._examiner.context.reader, []
        for pid in pids:
            try:
                if reader.stat_line(pid).ended:
                    ended.append(pid)
            except ProcessGone:
                ended.append(pid)
            except Exception as error:
                self._examiner.log_unreadable(pid, error)
        self._examiner.gone(ended)
