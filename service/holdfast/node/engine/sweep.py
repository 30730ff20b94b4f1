"""Looking at every process: when, in which slices, and clearing up what stands for nothing afterwards.

A sweep never sees a process that came after it listed ``/proc``; events do, or the next sweep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Generator, Iterable, Mapping
from concurrent.futures import Future

from holdfast import log
from holdfast.cgroups import UNIFIED, Hierarchy
from holdfast.errors import HoldfastError, ProcessGone
from holdfast.node.engine.reconciler import Keeper
from holdfast.node.engine.recovery import prune, recall
from holdfast.node.journal.rows import MadeRow, SettingRow
from holdfast.node.model.placement import Cause, Sweep
from holdfast.node.plan.setting import lines_for
from holdfast.node.proc.parse import Glance, parse_stat
from holdfast.node.rule.annotation import BY_ANNOTATION

LOG = log.named(__name__)
SLICE = 100  # processes between two looks at the events: 0.6 ms where they are nobody's business


class Sweeps:
    """One sweep at a time, a slice a `step`. ``due`` (monotonic) is when the next one comes by itself.

    ``begin`` is told the cause when a sweep begins and may name another one; ``end`` is told of each whole sweep.
    """

    def __init__(
        self,
        rescan_s: float,
        keeper: Keeper,
        hierarchy: Hierarchy,
        begin: Callable[[Cause], Cause],
        end: Callable[[Sweep], None],
    ) -> None:
        self.last: Sweep | None = None
        self.due = 0.0
        self._rescan_s, self._keeper, self._hierarchy = rescan_s, keeper, hierarchy
        self._begin, self._end = begin, end
        self._wanted: Cause | None = Cause.START
        self._asked: list[Future[Sweep]] = []
        self._going: Generator[None, None, None] | None = None

    @property
    def pending(self) -> bool:
        """Whether a `step` has something to do."""
        return self._going is not None or self._wanted is not None

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
        if self._going is None and self._wanted is None and time.monotonic() >= self.due:
            self._wanted = Cause.PERIOD
        if self._wanted is not None and not (self._going is not None and self._wanted is Cause.LOST_EVENTS):
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
            keeper.look_anew()
            numbers = keeper.hands.reader.numbers()
            known = {b"%d" % pid for pid in (*keeper.placements, *keeper.by_hand)}
            for first in range(0, len(numbers), SLICE):
                self._look_over(numbers[first : first + SLICE], known)
                spent += time.monotonic() - begun
                yield
                begun = time.monotonic()
            prune(keeper, known.difference(numbers))
            keeper.claims.end_round()
            try:
                self._clear_up()
            except Exception as error:  # the journal's file, most likely: the next sweep tries again
                LOG.warning("cannot clear up after a sweep", error=error)
            spent += time.monotonic() - begun
        except BaseException:  # it begins anew, or failed and the next one answers
            self._asked += asked
            raise
        self.due = time.monotonic() + self._rescan_s
        self.last = Sweep(cause, len(numbers), spent)
        self._end(self.last)
        for done in asked:
            done.set_result(self.last)

    def _look_over(self, numbers: Iterable[bytes], known: Container[bytes]) -> None:
        """A slice of a sweep. Who can fall under no rule costs one file and a look into a set, or two of each."""
        keeper, reader = self._keeper, self._keeper.hands.reader
        for pid, text in reader.remarkable(numbers, keeper.indifference.seen, known, keeper.followed):
            try:
                self._look_at(parse_stat(pid, text or reader.stat(pid)))
            except ProcessGone:
                keeper.forget(pid)
            except Exception as error:
                keeper.cannot(pid, error)

    def _look_at(self, glance: Glance) -> None:
        """One process of a sweep, read by number; opened only if there is something to do."""
        keeper = self._keeper
        if not keeper.of_interest(glance):
            return
        facts, decision = keeper.decide(glance)
        placement = keeper.placements.get(glance.pid)
        if placement is not None and not placement.group:
            placement.group, placement.pod = facts.memory_group, facts.pod
        if not keeper.is_settled(facts, decision):
            keeper.look_at(glance.pid)
        elif decision.rule is None:
            keeper.indifference.note(facts.comm, keeper.hands.reader.group_text(facts.pid))

    def _clear_up(self) -> None:
        """Rows of who is gone, settings and groups of rules that are no more."""
        journal, host = self._keeper.hands.journal, self._keeper.hands.host
        recall(self._keeper)
        settled: list[SettingRow | MadeRow] = []
        for row in journal.settings():
            if not self._is_stale(row):
                continue
            try:
                if row.give_back:
                    host.give_back_setting(row)
            except HoldfastError as error:
                LOG.warning("could not give a setting back", path=row.path, file=row.file, error=error)
            settled.append(row)
        settled += host.remove_made(journal.made(), keep=self._keeper.rules.targets)
        if settled:
            journal.forget(settled)
        journal.fold()

    def _is_stale(self, row: SettingRow) -> bool:
        """Whether no rule says anything of a group's file any more, or the group is gone."""
        if not self._hierarchy.tree(row.hierarchy).exists(row.path):
            return True
        rules = self._keeper.rules
        if row.rule in self._keeper.suspended:
            return True
        pod = self._keeper.hands.reader.pod_of({row.hierarchy: row.path})
        if pod is not None and not pod.name and rules.asks_runtime(row.rule):
            return False  # nobody can say yet
        rule = rules.asked_for(pod) if row.rule == BY_ANNOTATION else rules.spec_named(row.rule)
        if rule is None:
            return True
        given = dict(rule.in_place)
        if rule.cgroup is not None and rule.cgroup.path == row.path:
            given |= rule.cgroup.settings
        return row.file not in _files(given, v2=self._hierarchy.names == (UNIFIED,))


def _files(given: Mapping[str, int | str | tuple[str, ...]], *, v2: bool) -> set[str]:
    files: set[str] = set()
    for name, value in given.items():
        try:
            files.update(file for file, _ in lines_for(name, value, given, v2=v2))
        except HoldfastError:  # refused by the plan, with its reason
            continue
    return files
