"""Looking at every process: when, in which slices, and clearing up what stands for nothing afterwards.

A sweep never sees a process that came after it listed ``/proc``; events do, or the next sweep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Generator, Iterable
from concurrent.futures import Future

from holdfast import log
from holdfast.errors import HoldfastError, ProcessGone
from holdfast.node.engine.keeper import Keeper
from holdfast.node.model.placement import Cause, Sweep
from holdfast.node.proc.parse import parse_stat

LOG = log.named(__name__)
LOST_SHARE = 20  # sweeps for events that were lost, or not served, take one part in so many of the time
SLICE = 100  # processes between two looks at the events: 0.6 ms where they are nobody's business


class Sweeps:
    """One sweep at a time, a slice a `step`.

    ``begin`` is told the cause when a sweep begins and may name another one; ``end`` is told of each whole sweep.
    """

    def __init__(
        self,
        rescan_s: float,
        keeper: Keeper,
        begin: Callable[[Cause], Cause],
        end: Callable[[Sweep], None],
    ) -> None:
        self.last: Sweep | None = None
        self._due = self._rested = 0.0
        self._rescan_s, self._keeper = rescan_s, keeper
        self._begin, self._end = begin, end
        self._wanted: Cause | None = Cause.START
        self._asked: list[Future[Sweep]] = []
        self._going: Generator[None, None, None] | None = None

    @property
    def pending(self) -> bool:
        """Whether a `step` has something to do."""
        return self._going is not None or (self._wanted is not None and not self._rests())

    @property
    def due(self) -> float:
        """When the next one comes by itself; monotonic."""
        return min(self._due, self._rested) if self._wanted is not None else self._due

    def _rests(self) -> bool:
        """Whether the one that is wanted waits: who makes events faster than they are read gets no endless sweep."""
        return self._wanted is Cause.LOST_EVENTS and time.monotonic() < self._rested

    def want(self, cause: Cause) -> None:
        """A sweep from its beginning, even if one is going; for lost events when that has ended.

        Who makes events faster than they are read would otherwise keep any sweep from its end.
        """
        if self._wanted in (None, Cause.LOST_EVENTS):
            self._wanted = cause

    def ask(self, done: Future[Sweep]) -> None:
        """The same for somebody who waits for it."""
        self._asked.append(done)
        self.want(Cause.ASKED)

    def give_up(self) -> None:
        """There will be no more; who waits is told."""
        if self._going is not None:
            self._going.close()
        for done in self._asked:
            done.cancel()

    def step(self) -> None:
        """Begin a sweep that is wanted or due, and do a slice of the one that is going."""
        is_wanted = self._wanted not in (None, Cause.LOST_EVENTS)
        if self._going is None and not is_wanted and time.monotonic() >= self._due:
            self._wanted = Cause.PERIOD
        begins = self._wanted is not None and not self._rests()
        if begins and not (self._going is not None and self._wanted is Cause.LOST_EVENTS):
            assert self._wanted is not None
            if self._going is not None:
                self._going.close()  # its askers wait for the new one
            cause, self._wanted = self._wanted, None
            asked, self._asked = self._asked, []
            self._going = self._sweep(cause, asked)
        if self._going is not None and next(self._going, self) is self:
            self._going = None

    def _sweep(self, cause: Cause, asked: list[Future[Sweep]]) -> Generator[None, None, None]:
        spent, keeper = 0.0, self._keeper
        try:
            begun = time.monotonic()
            cause = self._begin(cause)
            begun_ticks = keeper.means.now().ticks
            keeper.sight.look_anew()
            keeper.reconciler.begin()
            self._check_journal()
            numbers = keeper.means.reader.numbers()
            gone: list[int] = []  # forgotten at the end: who forked from them is told from others by them
            for first in range(0, len(numbers), SLICE):
                part = numbers[first : first + SLICE]
                self._look_over(part, self._known_of(part), gone)
                spent += time.monotonic() - begun
                yield
                begun = time.monotonic()
            gone += self._known_beside(numbers)
            for first in range(0, len(gone), SLICE):
                self._forget(gone[first : first + SLICE])
                spent += time.monotonic() - begun
                yield
                begun = time.monotonic()
            keeper.reconciler.claims.end_round()
            try:
                keeper.clear_up()
                keeper.journal.tidy()
            except Exception as error:  # the next sweep tries again
                LOG.warning("cannot clear up after a sweep", error=error)
            spent += time.monotonic() - begun
        except BaseException:  # it begins anew, or failed and the next one answers
            self._asked += asked
            raise
        keeper.all_seen_before = begun_ticks
        if cause is not Cause.LOST_EVENTS:
            self._due = time.monotonic() + self._rescan_s
        self._rested = time.monotonic() + spent * (LOST_SHARE - 1)
        self.last = Sweep(cause, len(numbers), spent)
        self._end(self.last)
        for done in asked:
            done.set_result(self.last)

    def _known_of(self, numbers: Iterable[bytes]) -> Container[bytes]:
        """Those that are known, a slice at a time: of 10,000 processes a set of all is a megabyte."""
        entries, processes = self._keeper.reconciler.entries, self._keeper.reconciler.table.processes
        if not (entries or processes):
            return ()
        return {number for number in numbers if int(number) in entries or int(number) in processes}

    def _known_beside(self, numbers: Iterable[bytes]) -> list[int]:
        """Known processes that are not among those: they ended, or came since."""
        known = {*self._keeper.reconciler.entries, *self._keeper.reconciler.table.processes}
        if not known:
            return []
        return list(known.difference(map(int, numbers)))

    def _check_journal(self) -> None:
        try:
            self._keeper.journal.check()
        except HoldfastError as error:  # told with the first thing that is not written because of it
            LOG.debug("the journal's file is not there", error=error)

    def _look_over(self, numbers: Iterable[bytes], known: Container[bytes], gone: list[int]) -> None:
        """A slice of a sweep. Who can fall under no rule costs one file and a look into a set, or two of each."""
        keeper, reader = self._keeper, self._keeper.means.reader
        for pid, text in reader.remarkable(numbers, keeper.sight.indifference.seen, known, keeper.sight.parents):
            try:
                keeper.look_by_number(parse_stat(pid, text or reader.stat(pid)))
            except ProcessGone:
                gone.append(pid)
            except Exception as error:
                keeper.cannot(pid, error)

    def _forget(self, pids: Iterable[int]) -> None:
        """Those that ended; who has the number of one by now was looked at, or will be."""
        reader, ended = self._keeper.means.reader, []
        for pid in pids:
            try:
                if reader.glance(pid).ended:
                    ended.append(pid)
            except ProcessGone:
                ended.append(pid)
            except Exception as error:
                self._keeper.cannot(pid, error)
        self._keeper.gone(ended)
