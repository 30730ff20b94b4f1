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

from msgspec import Struct, field

from holdfast.cgroups import UNIFIED, Hierarchy, parse_groups
from holdfast.errors import HoldfastError, KernelRefused, NotFound, ProcessGone, Unavailable
from holdfast.node.journal import ADJ, HeldRow, Journal, MadeRow, SettingRow, cgroup_field
from holdfast.node.setting import controller_of, is_in_force
from holdfast.node.snapshot import Change, Field, Reason, Refusal
from holdfast.process import OpenProcess, ProcRoot, oomscore

_FRESH_NS = 5_000_000  # a process seen so long ago is where it was
#: errno of a refused write → the reason it is counted under.
_REASONS = {
    errno.EACCES: Reason.CAPABILITY,
    errno.EPERM: Reason.CAPABILITY,
    errno.EBUSY: Reason.INTERNAL_PROCESS,
    errno.EOPNOTSUPP: Reason.THREADED,
    errno.ENOSPC: Reason.CPUSET,
    errno.EINVAL: Reason.BAD_VALUE,
    errno.ERANGE: Reason.BAD_VALUE,
    errno.ENOENT: Reason.NO_CONTROLLER,
}


class Order(Struct, frozen=True):
    """Moves of one process and settings on the way, under one rule. ``process`` is closed by who takes the order.

    ``giving_back``: undo, so nothing is noted in the journal. ``drifted``: it was there before, and somebody moved it
    away. ``at_ns``: the exec that led to it, monotonic, or 0; ``looked_ns``: when it was seen where it was.
    """

    process: OpenProcess
    start_ticks: int
    rule: str
    changes: tuple[Change, ...]
    give_back: bool = True
    giving_back: bool = False
    drifted: bool = False
    at_ns: int = 0
    looked_ns: int = 0


class Outcome(Struct):
    """What became of an order. ``gone``: the process ended; ``stranger``: its number's new owner was moved back.

    ``at_ns``: when, monotonic; it may be heard of a while later.
    """

    order: Order
    at_ns: int = 0
    done: list[Change] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    gone: bool = False
    stranger: bool = False


def refusal_of(error: HoldfastError, which: Field) -> Refusal:
    """A refused write as a refusal of the rule."""
    if isinstance(error, KernelRefused):
        reason = _REASONS.get(error.errno, Reason.KERNEL)
        if which is Field.CGROUP and error.errno == errno.EINVAL:
            reason = Reason.KERNEL
        return Refusal(reason, which, error.advice)
    if isinstance(error, Unavailable):
        return Refusal(Reason.JOURNAL, which, error.message)
    return Refusal(Reason.NO_CONTROLLER if isinstance(error, NotFound) else Reason.KERNEL, which, str(error))


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
            self._journal.hold(row for outcome, wanted in moves for row in _rows(outcome.order, wanted))
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
            if error.errno != errno.ENOENT or order.giving_back or tree.exists(change.group):
                raise
            self._make(change.hierarchy, change.group, order.rule)  # somebody removed it since it was looked at
            tree.join(change.group, order.process.pid)

    def _put_back_stranger(self, pid: int, done: Sequence[Change]) -> bool:
        """Whoever has the number of a process that ended under our hands goes back beside its parent."""
        put_back = False
        try:
            with self._proc.open(pid) as stranger:
                groups = parse_groups(stranger.read("cgroup"))
                ppid = int(stranger.read("stat").rpartition(b")")[2].split()[1])
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


def moves_back(rows: Iterable[HeldRow], present: dict[str, str]) -> tuple[tuple[Change, ...], list[HeldRow]]:
    """The moves that give a process's groups back, and the rows that no longer are ours to give back."""
    changes, left = [], []
    for row in rows:
        hierarchy = row.field.partition(":")[2]
        now = present.get(hierarchy, "")
        if row.field == ADJ:
            continue
        if row.is_ours(now) and now != row.before:
            changes.append(Change(Field.CGROUP, now, row.before, hierarchy=hierarchy, group=row.before))
        else:
            left.append(row)
    return tuple(changes), left


def _rows(order: Order, wanted: Iterable[Change]) -> list[HeldRow]:
    if order.giving_back:
        return []
    return [
        HeldRow(
            order.process.pid,
            order.start_ticks,
            cgroup_field(change.hierarchy),
            change.before or "/",
            change.group,
            order.rule,
            give_back=order.give_back,
        )
        for change in wanted
    ]


def _place(change: Change) -> tuple[str, str, str]:
    return change.hierarchy, change.group, change.file


def _is_ours(row: SettingRow, now: str) -> bool:
    return any(is_in_force(row.file, value, now) for value in (row.written, row.previous) if value)
