"""Actions that the reconciler requests, and their results: values, without I/O.

`engine.reconciler` returns an `Action`. `executor` carries out the actions that write, and returns a `Result`, which
the reconciler settles. Rows in actions are as they were at the decision; `rows` says what each field means.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from msgspec import Struct

from holdfast.node.journal.rows import AdjRow, FileRow, GroupRow, MoveRow, Row
from holdfast.node.model.decision import AdjChange, MoveChange, Refusal, SettingChange
from holdfast.node.model.placement import Report, Restored


class Write(Struct, frozen=True):
    """Write ``change.after`` into a process's ``oom_score_adj``, if the present value is still ``change.before``.

    ``drifted``: the value was there before, and another program changed it. ``at_ns``: the exec that led to it, or 0.
    """

    row: AdjRow
    change: AdjChange
    drifted: bool = False
    at_ns: int = 0


class GiveBack(Struct, frozen=True):
    """Write ``row.before`` back, if the present value is ours."""

    row: AdjRow


class Terms(Struct, frozen=True):
    """The rule under which something is done, the rule's source, and whether removing the rule restores it."""

    rule: str
    give_back: bool = True
    origin: str = ""


class Move(Struct, frozen=True):
    """Move a process into the group of ``change``. ``row``: the row of an earlier move of ours."""

    change: MoveChange
    terms: Terms
    row: MoveRow | None = None


class Return(Struct, frozen=True):
    """Move a process back to ``row.before``, if it is where we put it; to the nearest group above if that is gone."""

    row: MoveRow


class Set(Struct, frozen=True):
    """Write a file of a group so that the change is in force."""

    change: SettingChange
    terms: Terms


Step: TypeAlias = Move | Return | Set


class Order(Struct, frozen=True):
    """Steps for a process that may wait in the kernel. While an order is under way, moves are not decided again.

    ``ticks``: clock ticks from boot when it was ordered. ``drifted``: the process was there before, and another program
    moved it away. ``at_ns``: the exec that led to it, or 0.
    """

    number: int
    pid: int
    start_ticks: int
    steps: tuple[Step, ...]
    ticks: int = 0
    drifted: bool = False
    at_ns: int = 0


class Unset(Struct, frozen=True):
    """Write a file's ``row.before`` back, if the present text is ours.

    ``parts``: only these parts of the file (`rule.setting.parts_of`); None: all that are ours.
    """

    row: FileRow
    parts: tuple[str, ...] | None = None


class Remove(Struct, frozen=True):
    """Remove a group that we made, once it is empty. A member that we did not put there goes back to ``row.base``."""

    row: GroupRow


class Commit(Struct, frozen=True):
    """Write rows to the journal's file and drop others. ``needed``: if that fails, none of it counts."""

    rows: tuple[Row, ...] = ()
    drops: tuple[Row, ...] = ()
    needed: bool = False


class Amend(Struct, frozen=True):
    """Put ``row`` in place of ``old``, which is about the same subject, if that is still the row."""

    old: Row
    row: Row


class Forget(Struct, frozen=True):
    """Drop rows that no longer stand for anything."""

    rows: tuple[Row, ...]


class Tell(Struct, frozen=True):
    """Send a report to the listeners."""

    report: Report


class Refused(Struct, frozen=True):
    """Refusals that are new for a process: count them, and log those that are new for its rule."""

    rule: str
    pid: int
    comm: str
    refusals: tuple[Refusal, ...]


class Stuck(Struct, frozen=True):
    """A value, group or file that cannot be restored now. The restore is retried; this is logged once."""

    what: str
    rule: str
    detail: str


class Heirs(Struct, frozen=True):
    """Examine a process's children before its row is dropped: they may have inherited what it had."""

    pid: int


class Look(Struct, frozen=True):
    """Examine a process again."""

    pid: int


class Follow(Struct, frozen=True):
    """Receive the forks of a changed set of processes from now on."""


Deed: TypeAlias = Write | GiveBack | Order | Unset | Remove
Action: TypeAlias = Deed | Commit | Amend | Forget | Tell | Refused | Stuck | Heirs | Look | Follow


class How(enum.Enum):
    """The outcome of one step."""

    DONE = "done"
    ALREADY = "already"  # nothing to change
    LEFT = "left"  # another program wrote another value since
    REFUSED = "refused"
    APART = "apart"  # restored to another place: its group is gone, or threaded now
    GONE = "gone"  # the process or group is gone


class Came(Struct, frozen=True):
    """The result of one step. ``row``: as it is in the journal now."""

    step: Step
    how: How
    row: MoveRow | FileRow | None = None
    refusal: Refusal | None = None


class Wrote(Struct, frozen=True):
    """The result of a write of an ``oom_score_adj``."""

    action: Write | GiveBack
    how: How
    refusal: Refusal | None = None


class Carried(Struct, frozen=True):
    """The result of an order. ``stranger``: a new process with the same pid was moved back. ``at_ns``: monotonic."""

    order: Order
    came: tuple[Came, ...]
    gone: bool = False
    stranger: bool = False
    at_ns: int = 0


class Cleared(Struct, frozen=True):
    """The result of restoring a file or removing a group."""

    action: Unset | Remove
    how: How
    detail: str = ""


Result: TypeAlias = Wrote | Carried | Cleared


def restored(results: Iterable[Result], gone: int, unexamined: Iterable[str] = ()) -> Restored:
    """Count the results of a restore; ``gone`` processes had ended before it was tried.

    ``unexamined``: a line for each process for which it could not be tried.
    """
    ends = [*_ends(results)]
    count = Counter(how for how, _ in ends)
    return Restored(
        count[How.DONE] + count[How.APART],
        count[How.LEFT],
        gone + count[How.GONE],
        (*unexamined, *(detail for how, detail in ends if how is How.REFUSED)),
        count[How.APART],
    )


def _ends(results: Iterable[Result]) -> Iterable[tuple[How, str]]:
    """Yield the outcome of each value, group or file that was to be restored, with the reason if it was refused."""
    cleared: dict[tuple[object, ...], tuple[How, str]] = {}  # the last result counts: a refused one was tried again
    for result in results:
        if isinstance(result, Carried):
            for came in result.came:
                if isinstance(came.step, Return):
                    yield came.how, came.refusal.detail if came.refusal else ""
        elif isinstance(result, Wrote):
            if isinstance(result.action, GiveBack):
                yield result.how, result.refusal.detail if result.refusal else ""
        elif isinstance(result.action, Unset):
            cleared[result.action.row.key] = (result.how, result.detail)
    yield from cleared.values()
