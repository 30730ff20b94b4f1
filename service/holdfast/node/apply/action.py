"""What the reconciler has done, and what came of it: values, without I/O.

An `Action` is what `engine.reconciler` answers; `executor` carries those out that write, and answers with a `Result`,
which the reconciler settles. Rows in actions are as they were when it was decided; `rows` says what each field means.
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
    """Write ``change.after`` into a process's ``oom_score_adj``, if that still says ``change.before``.

    ``drifted``: it was there before, and another program changed it. ``at_ns``: the exec that led to it, or 0.
    """

    row: AdjRow
    change: AdjChange
    drifted: bool = False
    at_ns: int = 0


class GiveBack(Struct, frozen=True):
    """Write ``row.before`` back, if the present value is ours."""

    row: AdjRow


class Terms(Struct, frozen=True):
    """Under which rule something is done, where the rule comes from, and what becomes of it when the rule goes."""

    rule: str
    give_back: bool = True
    origin: str = ""


class Move(Struct, frozen=True):
    """Move a process into the group of ``change``. ``row``: what is known of an earlier move of ours."""

    change: MoveChange
    terms: Terms
    row: MoveRow | None = None


class Return(Struct, frozen=True):
    """Move a process back to ``row.before``, if it is where we put it; to the nearest above if that group is gone."""

    row: MoveRow


class Set(Struct, frozen=True):
    """Bring a file of a group into force."""

    change: SettingChange
    terms: Terms


Step: TypeAlias = Move | Return | Set


class Order(Struct, frozen=True):
    """What is done with a process that may wait in the kernel. While it is under way its moves are not decided anew.

    ``ticks``: clock ticks from boot when it was ordered. ``drifted``: it was there before, and another program moved it
    away. ``at_ns``: the exec that led to it, or 0.
    """

    number: int
    pid: int
    start_ticks: int
    steps: tuple[Step, ...]
    ticks: int = 0
    drifted: bool = False
    at_ns: int = 0


class Unset(Struct, frozen=True):
    """Write a file's ``row.before`` back, if the present text is ours."""

    row: FileRow


class Remove(Struct, frozen=True):
    """Remove a group that we made, once it is empty; whom we did not put there goes back to ``row.base``."""

    row: GroupRow


class Commit(Struct, frozen=True):
    """Have rows in the journal's file, and others no more. ``needed``: without that nothing of it counts."""

    rows: tuple[Row, ...] = ()
    drops: tuple[Row, ...] = ()
    needed: bool = False


class Forget(Struct, frozen=True):
    """Drop rows that stand for nothing any more."""

    rows: tuple[Row, ...]


class Tell(Struct, frozen=True):
    """Tell whoever listens."""

    report: Report


class Refused(Struct, frozen=True):
    """Refusals that are new for a process: count them, and say what is new for its rule."""

    rule: str
    pid: int
    comm: str
    refusals: tuple[Refusal, ...]


class Stuck(Struct, frozen=True):
    """Something cannot be given back now. It is tried again; this is told once."""

    what: str
    rule: str
    detail: str


class Heirs(Struct, frozen=True):
    """Look at a process's children before its row is forgotten: what it had, they may have inherited."""

    pid: int


class Look(Struct, frozen=True):
    """Look at a process anew."""

    pid: int


class Follow(Struct, frozen=True):
    """Other processes' forks are to be told from now on."""


Deed: TypeAlias = Write | GiveBack | Order | Unset | Remove
Action: TypeAlias = Deed | Commit | Forget | Tell | Refused | Stuck | Heirs | Look | Follow


class How(enum.Enum):
    """What became of one thing to do."""

    DONE = "done"
    ALREADY = "already"  # it was so
    LEFT = "left"  # another program chose since
    REFUSED = "refused"
    APART = "apart"  # given back in another place: its group is gone
    GONE = "gone"  # the process or group is


class Came(Struct, frozen=True):
    """What became of one step. ``row``: as it is in the journal now."""

    step: Step
    how: How
    row: MoveRow | FileRow | None = None
    refusal: Refusal | None = None


class Wrote(Struct, frozen=True):
    """What became of a write of an ``oom_score_adj``."""

    action: Write | GiveBack
    how: How
    refusal: Refusal | None = None


class Carried(Struct, frozen=True):
    """What became of an order. ``stranger``: its number's new owner was moved back. ``at_ns``: when, monotonic."""

    order: Order
    came: tuple[Came, ...]
    gone: bool = False
    stranger: bool = False
    at_ns: int = 0


class Cleared(Struct, frozen=True):
    """What became of giving a file back, or of removing a group."""

    action: Unset | Remove
    how: How
    detail: str = ""


Result: TypeAlias = Wrote | Carried | Cleared


def restored(results: Iterable[Result], gone: int) -> Restored:
    """What giving back did, counted; ``gone`` processes had ended before it was tried."""
    ends = [*_ends(results)]
    count = Counter(how for how, _ in ends)
    return Restored(
        count[How.DONE] + count[How.APART],
        count[How.LEFT],
        gone + count[How.GONE],
        tuple(detail for how, detail in ends if how is How.REFUSED),
        count[How.APART],
    )


def _ends(results: Iterable[Result]) -> Iterable[tuple[How, str]]:
    """What was to be given back and what became of each, with why where it was refused."""
    for result in results:
        if isinstance(result, Carried):
            for came in result.came:
                if isinstance(came.step, Return):
                    yield came.how, came.refusal.detail if came.refusal else ""
        elif isinstance(result, Wrote):
            if isinstance(result.action, GiveBack):
                yield result.how, result.refusal.detail if result.refusal else ""
        elif isinstance(result.action, Unset):
            yield result.how, result.detail
