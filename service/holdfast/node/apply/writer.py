"""The only writer. What it writes is in the journal first, goes through a descriptor of the very process, is read back.

Theory
------
* ``oom_score_adj`` is written at once: a microsecond, and safe by identity (a reused number answers ESRCH).
* ``cgroup.procs`` takes a number; there is no safe form. So: hold the process's directory, look that it lives and
  where it is, write the number, look again through the directory. If the process ended in between, whoever has its
  number now may have been moved; a newcomer that sits in the target though its parent does not is put back beside
  its parent, where it was born.
* The first move after 50 ms of none waits 6 to 14 ms for an RCU grace period, later ones 5 µs; so does a move to where
  a process already is. Moves come in batches, and none is made that is already true.
* What the kernel refuses is an outcome, in one line with the remedy; the rest of the batch goes on.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Iterable, Sequence

from holdfast.cgroups import UNIFIED, Hierarchy, parent, parse_groups
from holdfast.errors import HoldfastError, KernelRefused, ProcessGone, Unavailable
from holdfast.node.apply.move_job import Order, Outcome, refusal_of, rows_of
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import HeldRow, MadeRow, SettingRow
from holdfast.node.model.decision import Change, Field
from holdfast.node.plan.setting import is_in_force
from holdfast.node.proc.parse import name_and_parent
from holdfast.node.rule.setting import controller_of
from holdfast.process import OpenProcess, ProcRoot, oomscore

_FRESH_NS = 5_000_000  # a process seen so long ago is where it was


class Host:
    """Writes to processes and cgroups. `set_adj` is the engine's, `carry_out` the mover's: one thread each."""

    def __init__(self, proc: ProcRoot, hierarchy: Hierarchy, journal: Journal) -> None:
        self._proc = proc
        self._hierarchy = hierarchy
        self._journal = journal
        self._moving = threading.Lock()  # the mover, and whoever gives everything back

    def set_adj(self, process: OpenProcess, row: HeldRow) -> None:
        """Write ``row.written`` into the process's ``oom_score_adj``, journal first.

        Raises:
            ProcessGone: it ended.
            KernelRefused: the kernel said no; the row stays and is worth nothing, as the value is not ours.
        """
        self._journal.hold((row,))
        oomscore.write(process, int(row.written))

    def carry_out(self, orders: Sequence[Order]) -> list[Outcome]:
        """Carry out a batch: settings, journal, moves, and the look afterwards. Never raises for one order."""
        with self._moving:
            return self._carried_out(orders)

    def _carried_out(self, orders: Sequence[Order]) -> list[Outcome]:
        outcomes = [Outcome(order) for order in orders]
        settled: set[tuple[str, str, str, str]] = set()
        moves: list[tuple[Outcome, tuple[Change, ...]]] = []
        for outcome in outcomes:
            self._set_all(outcome, settled)
            wanted = self._still_wanted(outcome)
            if wanted:
                moves.append((outcome, wanted))
        try:
            self._journal.hold(row for outcome, wanted in moves for row in rows_of(outcome.order, wanted))
        except Unavailable as error:
            for outcome, _ in moves:
                outcome.refused.append(refusal_of(error, Field.CGROUP))
            return outcomes
        for outcome, wanted in moves:
            self._move(outcome, wanted)
        return outcomes

    def _set_all(self, outcome: Outcome, settled: set[tuple[str, str, str, str]]) -> None:
        for change in outcome.order.changes:
            key = (change.hierarchy, change.group, change.file, change.after)
            if change.field is Field.SETTING and key not in settled:
                settled.add(key)
                try:
                    if self.set_setting(change, outcome.order.rule, give_back=outcome.order.give_back):
                        outcome.done.append(change)
                except HoldfastError as error:
                    outcome.refused.append(refusal_of(error, Field.SETTING))

    def set_setting(self, change: Change, rule: str, *, give_back: bool) -> bool:
        """Bring a file of a group into force, making the group if the change says so; False: it said that already.

        Raises:
            HoldfastError: the kernel said no, or there is no such hierarchy.
        """
        tree = self._hierarchy.tree(change.hierarchy)
        if change.create:
            self._make(change.hierarchy, change.group, rule, (controller_of(change.file),))
        now = tree.read(change.group, change.file)
        if is_in_force(change.file, change.after, now):
            return False
        known = [r for r in self._journal.settings() if (r.hierarchy, r.path, r.file) == _place(change)]
        if known and not _is_ours(known[0], now):
            self._journal.forget(known)  # somebody else chose since: that is what will be given back
        self._journal.set(SettingRow(*_place(change), before=now, written=change.after, rule=rule, give_back=give_back))
        for line in change.after.split("\n"):
            tree.write(change.group, change.file, line)
        return True

    def _make(self, hierarchy: str, path: str, rule: str, controllers: Iterable[str] = ()) -> None:
        """Make a group and what is missing above it; what is ours to remove is in the journal before it exists."""
        tree = self._hierarchy.tree(hierarchy)
        if not tree.exists(path):
            at, missing = path, []
            while at != "/" and not tree.exists(at):
                missing.append(MadeRow(hierarchy, at, rule))
                at = at.rsplit("/", 1)[0] or "/"
            self._journal.make(missing)
        tree.create(path, [name for name in controllers if name] if hierarchy == UNIFIED else ())

    def _still_wanted(self, outcome: Outcome) -> tuple[Change, ...]:
        """The moves that are not already true; makes their groups. Looks through the descriptor, so at this process."""
        order = outcome.order
        moves = [change for change in order.changes if change.field is Field.CGROUP]
        if not moves:
            return ()
        present = {}
        if time.monotonic_ns() - order.looked_ns > _FRESH_NS:
            try:
                present = parse_groups(order.process.read("cgroup"))
            except HoldfastError:
                outcome.gone = True
                return ()
        wanted = []
        for change in moves:
            if present.get(change.hierarchy) == change.group:
                continue
            try:
                if change.create:
                    self._make(change.hierarchy, change.group, order.rule)
                wanted.append(change)
            except HoldfastError as error:
                outcome.refused.append(refusal_of(error, Field.CGROUP))
        return tuple(wanted)

    def _move(self, outcome: Outcome, wanted: Iterable[Change]) -> None:
        process = outcome.order.process
        for change in wanted:
            try:
                self._join(outcome.order, change)
            except ProcessGone:
                outcome.gone = True
                return
            except HoldfastError as error:
                outcome.refused.append(refusal_of(error, Field.CGROUP))
                continue
            outcome.done.append(change)
        outcome.at_ns = time.monotonic_ns()
        if process.is_reaped():
            outcome.gone = True
            outcome.stranger = self._put_back_stranger(process.pid, outcome.done)

    def _join(self, order: Order, change: Change) -> None:
        tree = self._hierarchy.tree(change.hierarchy)
        try:
            tree.join(change.group, order.process.pid)
        except KernelRefused as error:
            if error.errno != errno.ENOENT or tree.exists(change.group):
                raise
            if order.giving_back:
                self._join_above(change, order.process.pid)
                return
            self._make(change.hierarchy, change.group, order.rule)  # it was removed since it was looked at
            tree.join(change.group, order.process.pid)

    def _join_above(self, change: Change, pid: int) -> None:
        """Join the nearest group above one that is gone. Never the root's: that would leave every limit on the way.

        Raises:
            KernelRefused: none is left that takes processes; the process stays where it is.
        """
        tree, above = self._hierarchy.tree(change.hierarchy), parent(change.group)
        while above != "/":
            try:
                tree.join(above, pid)
            except KernelRefused:
                above = parent(above)
            else:
                return
        remedy = "its group is gone, and none above takes processes: it stays where it is until it is restarted"
        raise KernelRefused("restore", f"{tree.mount}{change.group}", errno.ENOENT, remedy)

    def _put_back_stranger(self, pid: int, done: Sequence[Change]) -> bool:
        """Whoever has the number of a process that ended under our hands goes back beside its parent."""
        put_back = False
        try:
            with self._proc.open(pid) as stranger:
                groups = parse_groups(stranger.read("cgroup"))
                _, ppid = name_and_parent(stranger.read("stat"))
                with self._proc.open(ppid) as parent:
                    born_in = parse_groups(parent.read("cgroup"))
                for change in done:
                    birthplace = born_in.get(change.hierarchy)
                    if change.field is not Field.CGROUP or birthplace in (None, change.group):
                        continue
                    if groups.get(change.hierarchy) == change.group:
                        self._hierarchy.tree(change.hierarchy).join(birthplace or "/", pid)
                        put_back = True
        except HoldfastError:  # it ended too, or may not be moved: nothing of ours is left in it
            return put_back
        return put_back

    def give_back_adj(self, process: OpenProcess, row: HeldRow) -> bool:
        """Give a process its ``oom_score_adj`` back if the present one is ours; False: it is not, and stays.

        Raises:
            ProcessGone: it ended.
            KernelRefused: the kernel said no.
        """
        if not row.is_ours(str(oomscore.read(process))):
            return False
        oomscore.write(process, int(row.before))
        return True

    def says(self, row: SettingRow) -> bool:
        """Whether a group's file says what the row has written there."""
        try:
            return is_in_force(row.file, row.written, self._hierarchy.tree(row.hierarchy).read(row.path, row.file))
        except HoldfastError:  # the group is gone, or has no such file
            return False

    def give_back_setting(self, row: SettingRow) -> bool:
        """Give a group's file its value back if the present one is ours; False: it is not, or the group is gone.

        Raises:
            HoldfastError: the kernel said no.
        """
        tree = self._hierarchy.tree(row.hierarchy)
        if not tree.exists(row.path) or not _is_ours(row, tree.read(row.path, row.file)):
            return False
        tree.write(row.path, row.file, row.before)
        return True

    def remove_made(self, rows: Sequence[MadeRow], keep: Iterable[str] = ()) -> list[MadeRow]:
        """Remove groups that we made, deepest first, unless they (or groups below them) are to be kept or in use.

        Answers the rows that stand for nothing any more.
        """
        kept = tuple(keep)
        removed = []
        for row in rows:
            if any(path == row.path or path.startswith(f"{row.path}/") for path in kept):
                continue
            with contextlib.suppress(HoldfastError):
                if self._hierarchy.tree(row.hierarchy).remove(row.path):
                    removed.append(row)
        return removed


def _place(change: Change) -> tuple[str, str, str]:
    return change.hierarchy, change.group, change.file


def _is_ours(row: SettingRow, now: str) -> bool:
    return any(is_in_force(row.file, value, now) for value in (row.written, row.previous) if value)
