"""The only writer. It journals each change first, and makes sure that the change reaches that very process.

Theory
------
* ``oom_score_adj`` is written at once: this takes a microsecond, and is safe by identity (a reused pid answers ESRCH).
  It is read back.
* ``cgroup.procs`` takes a pid; the kernel has no safe form. So the executor holds the process's directory open, reads
  which group the process is in, writes the pid, and checks through the directory that the process is still there. If
  the process ended in between, the write may have moved a new process with the same pid. A new process that is in the
  target although its parent is not is moved back to its parent's group, where it was born.
* *The group at the moment of the move counts*, both for a move and for its restore. If another program has chosen a
  group since the decision, that group is noted as before, or is left alone. Each move directly follows a read of its
  own: between the read and the move there is only the write (`last_look`, `CurrentGroups.is_still`). Values are handled
  alike.
* *A process is moved to a hierarchy's root only if it came from there*: the root would free it of every limit on the
  way. If a process's former group is gone, or is in a threaded subtree now (v2's ``cgroup.type``), it goes
  back to the nearest group above. If no group above takes it, it stays, and the restore is retried.
* The first move after 50 ms without one waits 6 to 14 ms for an RCU grace period; later moves take 5 µs. A move into
  the group that the process is already in waits as well. To take this wait early, the executor moves its own process
  into the group that it is already in; then only microseconds pass between reading a process's group and moving it. No
  other move is made into a group that the process is already in.
* A move takes all threads of a process. A process whose threads are in different groups (v1's ``tasks``, v2's
  ``cgroup.threads``) is not moved: their groups could not be restored.
* A refusal by the kernel is a normal outcome: one line with the remedy. The rest of the order continues.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from holdfast.cgroups import Hierarchy, parse_groups
from holdfast.errors import HoldfastError, KernelRefused, NotFound, ProcessGone
from holdfast.node.apply.action import (
    Came,
    Carried,
    Cleared,
    GiveBack,
    How,
    Move,
    Order,
    Remove,
    Return,
    Set,
    Unset,
    Write,
    Wrote,
)
from holdfast.node.apply.current_groups import CurrentGroups
from holdfast.node.apply.group_writer import GroupWriter
from holdfast.node.apply.refusal import refusal_of
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import FileRow, MoveRow
from holdfast.node.model.decision import Field, Reason, Refusal
from holdfast.node.proc.parse import name_and_parent
from holdfast.process import OpenProcess, ProcRoot, oomscore

AGAIN = 3  # tries, each after its group is read again, if another program moves the process at the same moment
WARM_S = 0.002  # the lock becomes cold after a grace period, never sooner than a tick or two after a move
_CONTENDED = Refusal(Reason.KERNEL, Field.CGROUP, "another program moves it at the same moment; find and stop it")

_APART = Refusal(
    Reason.THREADED,
    Field.CGROUP,
    "its threads are in different groups, and a move takes them all: leave it to the program that placed them",
)


class Executor:
    """Writes to processes and groups.

    `write` and `clear` are for the engine's thread; `carry_out` is for the mover's thread as well.
    """

    def __init__(self, proc: ProcRoot, hierarchy: Hierarchy, journal: Journal) -> None:
        self.journal = journal
        self._proc, self._hierarchy = proc, hierarchy
        self._groups = GroupWriter(proc, hierarchy, journal)
        self._writing = threading.Lock()  # to groups: the mover, and the engine's thread
        self._warm_until = 0.0
        self._at_home: tuple[str, str] | None = None  # a hierarchy, and the group that we are in

    # -- oom_score_adj -----------------------------------------------------------------------------------------------

    def write(self, process: OpenProcess, action: Write | GiveBack) -> Wrote:
        """Write or restore an ``oom_score_adj``."""
        try:
            if isinstance(action, GiveBack):
                return Wrote(action, self._give_back(process, action))
            self.journal.commit((action.row,))
            if not oomscore.replace(process, action.change.before, action.change.after):
                return Wrote(action, How.LEFT)
        except ProcessGone:
            return Wrote(action, How.GONE)
        except HoldfastError as error:
            return Wrote(action, How.REFUSED, refusal_of(error, Field.OOM_SCORE_ADJ))
        return Wrote(action, How.DONE)

    @staticmethod
    def _give_back(process: OpenProcess, action: GiveBack) -> How:
        present, before = oomscore.read(process), action.row.before
        if not action.row.is_ours(present):
            return How.LEFT
        return How.DONE if present == before or oomscore.replace(process, present, before) else How.LEFT

    # -- cgroups -----------------------------------------------------------------------------------------------------

    @property
    def is_warm(self) -> bool:
        """Whether a move would be made without a wait."""
        return time.monotonic() < self._warm_until

    def carry_out(self, order: Order, process: OpenProcess) -> Carried:
        """Carry out an order: its settings, then its moves. Never raises."""
        with self._writing:
            came: list[Came] = []
            moves: list[Move | Return] = []
            for step in order.steps:
                if isinstance(step, Set):
                    came.append(self._groups.write(step))
                else:
                    moves.append(step)
            gone = stranger = False
            if moves:
                try:
                    came += self._move_all(order, moves, process)
                except ProcessGone:
                    gone = True
                else:
                    gone = process.is_reaped()
                    stranger = gone and self._put_back_stranger(process.pid, came)
            return Carried(order, tuple(came), gone, stranger, time.monotonic_ns())

    def _move_all(self, order: Order, steps: Sequence[Move | Return], process: OpenProcess) -> list[Came]:
        """Make the moves of one process, from the groups that it is in at this moment.

        Raises:
            ProcessGone: the process ended before the first move.
        """
        moves: list[Move] = []
        returns: list[Return] = []
        came: list[Came] = []
        seen: dict[str, str] = {}
        for step in steps:
            if isinstance(step, Return):
                returns.append(step)
            elif step.change.create and (refusal := self._prepare(step)) is not None:
                came.append(Came(step, How.REFUSED, refusal=refusal))
            else:
                moves.append(step)
                seen[step.change.hierarchy] = step.change.before
        if not (moves or returns):
            return came
        self._warm_up()
        try:
            with CurrentGroups(process, seen) as at:
                if returns:
                    at.look()
                    came += [self._return(step, at) for step in returns]
                for step, row in self._committed(order, moves, at.groups):
                    came.append(Came(step, How.ALREADY) if row is None else self._move(order, step, row, at))
        except HoldfastError as error:
            if isinstance(error, ProcessGone):
                raise
            wanted: list[Move | Return] = [*returns, *moves]
            left = [step for step in wanted if all(one.step is not step for one in came)]
            came += [Came(step, How.REFUSED, refusal=refusal_of(error, Field.CGROUP)) for step in left]
        return came

    def _committed(
        self, order: Order, moves: Iterable[Move], present: Mapping[str, str]
    ) -> list[tuple[Move, MoveRow | None]]:
        """Return the moves, each with its row, which is in the journal; None: the process is in the group already."""
        wanted: list[tuple[Move, MoveRow | None]] = []
        rows: list[MoveRow] = []
        for step in moves:
            group, row = present.get(step.change.hierarchy, ""), None
            if group != step.change.after:
                row = _wanting(order, step, group)
                rows.append(row)
            wanted.append((step, row))
        self.journal.commit(rows)
        return wanted

    def _move(self, order: Order, step: Move, row: MoveRow, current: CurrentGroups) -> Came:
        """Move a process out of the group that its row names.

        If another program moves the process meanwhile, a new row is written and the move is tried again.
        """
        try:
            if current.has_threads_apart(step.change.hierarchy):
                return Came(step, How.REFUSED, row, _APART)
            for _ in range(AGAIN):
                came = self._join(step, row, current)
                if came.how is not How.LEFT:
                    return came
                ((_, anew),) = self._committed(order, (step,), current.look())
                if anew is None:
                    return Came(step, How.ALREADY, row)
                row = anew
        except ProcessGone:
            return Came(step, How.GONE, row)
        except HoldfastError as error:
            return Came(step, How.REFUSED, row, refusal_of(error, Field.CGROUP))
        return Came(step, How.REFUSED, row, _CONTENDED)

    def _prepare(self, step: Move) -> Refusal | None:
        """Make the group of a move."""
        try:
            self._groups.make(step.change.hierarchy, step.change.after, step.terms)
        except HoldfastError as error:
            return refusal_of(error, Field.CGROUP)
        return None

    def _warm_up(self) -> None:
        """Wait for the grace period now, before any process's group is read."""
        if self.is_warm:
            return
        try:
            if self._at_home is None:
                self._at_home = self._home()
            hierarchy, group = self._at_home
            self._hierarchy.tree(hierarchy).join(group, 0)
        except HoldfastError:  # we were moved, or our own group takes no processes; the kernel took the lock anyway
            self._at_home = None
        self._warm_until = time.monotonic() + WARM_S

    def _home(self) -> tuple[str, str]:
        with self._proc.open_self() as own:
            groups = parse_groups(own.read("cgroup"))
        for name in self._hierarchy.names:
            if name in groups:
                return name, groups[name]
        raise NotFound("a mounted cgroup hierarchy")

    def _join(self, step: Move, row: MoveRow, current: CurrentGroups) -> Came:
        change = step.change
        tree, still = self._hierarchy.tree(change.hierarchy), partial(current.is_still, change.hierarchy)
        try:
            moved = tree.join(change.after, row.pid, still)
        except KernelRefused as error:
            if error.errno != errno.ENOENT or tree.inode(change.after):
                raise
            self._groups.make(change.hierarchy, change.after, step.terms)  # the group was removed after it was read
            moved = tree.join(change.after, row.pid, still)
        self._warm_until = time.monotonic() + WARM_S
        return Came(step, How.DONE if moved else How.LEFT, row)

    def _return(self, step: Return, current: CurrentGroups) -> Came:
        row = step.row
        try:
            for _ in range(AGAIN):
                now = current.groups.get(row.hierarchy, "")
                if not row.is_ours(now):
                    return Came(step, How.LEFT)
                if now == row.before:
                    return Came(step, How.DONE)
                how = self._join_before(row, partial(current.is_still, row.hierarchy))
                if how is not How.LEFT:
                    return Came(step, how)
                current.look()
        except ProcessGone:
            return Came(step, How.GONE)
        except HoldfastError as error:
            return Came(step, How.REFUSED, refusal=refusal_of(error, Field.CGROUP))
        return Came(step, How.REFUSED, refusal=_CONTENDED)

    def _join_before(self, row: MoveRow, still: Callable[[], bool]) -> How:
        """Join the group ``before``, or if that is gone or takes no processes, the nearest group above it.

        LEFT: ``still`` said no.

        Raises:
            KernelRefused: no group takes the process, which stays where it is. The root is never used: it would free
                the process of every limit on the way.
        """
        if (joined := self._groups.join(row.hierarchy, row.before, row.pid, still)) is not None:
            return How.DONE if joined else How.LEFT
        return How.APART if self._groups.join_above(row.hierarchy, row.before, row.pid, still) else How.LEFT

    def _put_back_stranger(self, pid: int, results: Iterable[Came]) -> bool:
        """Move a new process that has the pid of one that ended during its move to its parent's group.

        Return whether a process was moved.
        """
        put_back = False
        try:
            with self._proc.open(pid) as stranger:
                groups = parse_groups(stranger.read("cgroup"))
                _, ppid = name_and_parent(stranger.read("stat"))
                with self._proc.open(ppid) as beside:
                    born_in = parse_groups(beside.read("cgroup"))
                for one in results:
                    if one.how is not How.DONE or isinstance(one.step, Set):
                        continue
                    hierarchy = _hierarchy_of(one.step)
                    target = one.step.row.before if isinstance(one.step, Return) else one.step.change.after
                    birthplace = born_in.get(hierarchy)
                    if birthplace is not None and groups.get(hierarchy) == target != birthplace:
                        self._hierarchy.tree(hierarchy).join(birthplace, pid)
                        put_back = True
        except HoldfastError:  # it ended too, or may not be moved: nothing of ours is left in it
            return put_back
        return put_back

    # -- files and groups --------------------------------------------------------------------------------------------

    def find(self, row: FileRow) -> FileRow | None:
        """Return the row of a file that has the text of ``row``, with its group's inode; None: it has another text."""
        return self._groups.find(row)

    def check_groups(self) -> None:
        """Forget groups of ours that another program removed."""
        with self._writing:
            self._groups.check_groups()

    def clear(self, action: Unset | Remove) -> Cleared:
        """Restore a file if its text is ours, or remove a group once it is empty. Never raises."""
        with self._writing:
            try:
                if isinstance(action, Unset):
                    return Cleared(action, self._groups.unset(action.row, action.parts))
                return Cleared(action, self._groups.remove(action.row))
            except HoldfastError as error:  # a hierarchy that is not mounted now may be mounted at the next start
                detail = error.advice if isinstance(error, KernelRefused) else str(error)
                return Cleared(action, How.REFUSED, detail)


def _hierarchy_of(step: Move | Return) -> str:
    return step.row.hierarchy if isinstance(step, Return) else step.change.hierarchy


def _wanting(order: Order, step: Move, now: str) -> MoveRow:
    """Return the row for a move of a process that is in ``now`` at this moment; `reconciler` defines before."""
    old, terms = step.row, step.terms
    new = MoveRow(
        order.pid,
        order.start_ticks,
        step.change.hierarchy,
        now,
        terms.rule,
        None,
        step.change.after,
        (),
        order.ticks,
        terms.give_back,
        terms.origin,
    )
    if old is None or not old.is_ours(now):
        return new
    return replace(new, before=old.before, written=now, earlier=old.past(), since_ticks=old.since_ticks)
