"""The rows of the journal: a value of a process, of a group's file, a group that we made, an override.

`engine.reconciler` defines *before*, *written* and *wanted*. Rows are values: a change is a new row.
"""

# No `from __future__ import annotations` here: msgspec would compile each annotation again.
from typing import Annotated, TypeAlias, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import replace

TICK_NS = 10**7  # USER_HZ is 100
MOST_EARLIER = 4  # values of ours, or groups, that a child may have inherited before the last one
Adj = Annotated[int, Meta(ge=-1000, le=1000)]
Identity: TypeAlias = tuple[int, int]  # pid, start ticks


_Value = TypeVar("_Value")


def _past(earlier: tuple[_Value, ...], before: _Value, *ours: _Value | None) -> tuple[_Value, ...]:
    """Return the last values of ours, each once."""
    known = [value for value in ours if value is not None and value != before]
    return tuple(dict.fromkeys((*earlier, *known)))[-MOST_EARLIER:]


class AdjRow(Struct, frozen=True, gc=False, tag="adj", tag_field="kind", omit_defaults=True):
    """The ``oom_score_adj`` of one process.

    ``written`` is the value that we are known to have written, ``wanted`` one that we may have written (None: none).
    ``earlier``: our earlier values, and those that we may have written; processes that it forked while it had them
    inherited them. ``since_ticks``: clock ticks from boot to the first write. ``heir_of``: the process that it
    inherited the value from, which got it from us. ``origin``: the source of the rule (`ruleset.Rules`).
    """

    pid: int
    start_ticks: int
    before: Adj
    rule: str
    written: Adj | None = None
    wanted: Adj | None = None
    earlier: tuple[Adj, ...] = ()
    since_ticks: int = 0
    as_child: bool = False
    give_back: bool = True
    origin: str = ""
    heir_of: Identity | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """The subject of the row."""
        return ("adj", self.pid, self.start_ticks)

    def is_ours(self, present: int) -> bool:
        """Whether the present value is one that we wrote, or may have written."""
        return present in (self.written, self.wanted)

    def gave(self, value: int, start_ticks: int) -> bool:
        """Whether a child that started at ``start_ticks`` has ``value`` from us."""
        return start_ticks >= self.since_ticks and (self.is_ours(value) or value in self.earlier)

    def least(self) -> int:
        """Return the least value that a process that this one forked may have from us."""
        return min(value for value in (self.written, self.wanted, *self.earlier, self.before) if value is not None)

    def past(self) -> tuple[int, ...]:
        """Return the values of ours that a child may have from this process.

        ``before`` is left out: other processes have that value, too.
        """
        return _past(self.earlier, self.before, self.written, self.wanted)

    def settled(self) -> "AdjRow":
        """Return the row after the wanted value was written."""
        return replace(self, written=self.wanted, wanted=None)

    def refused(self) -> "AdjRow | None":
        """Return the row after the wanted value was refused; None: then we wrote nothing."""
        return None if self.written is None else replace(self, wanted=None)

    def unsure(self) -> "AdjRow":
        """Return the row when the wanted value is not there: it was not written, or another program wrote since."""
        return self if self.written is None else replace(self, wanted=None, earlier=self.past())


class MoveRow(Struct, frozen=True, gc=False, tag="move", tag_field="kind", omit_defaults=True):
    """The cgroup of one process in one hierarchy. See `AdjRow`."""

    pid: int
    start_ticks: int
    hierarchy: str
    before: str
    rule: str
    written: str | None = None
    wanted: str | None = None
    earlier: tuple[str, ...] = ()
    since_ticks: int = 0
    give_back: bool = True
    origin: str = ""
    heir_of: Identity | None = None

    @property
    def key(self) -> tuple[str, int, int, str]:
        """The subject of the row."""
        return ("move", self.pid, self.start_ticks, self.hierarchy)

    def is_ours(self, present: str) -> bool:
        """Whether the present group is one that we moved the process to, or may have."""
        return present in (self.written, self.wanted)

    def gave(self, group: str, start_ticks: int) -> bool:
        """Whether a child that started at ``start_ticks`` is in ``group`` because of us."""
        return start_ticks >= self.since_ticks and (self.is_ours(group) or group in self.earlier)

    def past(self) -> tuple[str, ...]:
        """See `AdjRow.past`."""
        return _past(self.earlier, self.before, self.written, self.wanted)

    def settled(self) -> "MoveRow":
        """Return the row after the wanted move was made."""
        return replace(self, written=self.wanted, wanted=None)

    def refused(self) -> "MoveRow | None":
        """Return the row after the wanted move was refused; None: then we moved nothing."""
        return None if self.written is None else replace(self, wanted=None)

    def unsure(self) -> "MoveRow":
        """See `AdjRow.unsure`."""
        return self if self.written is None else replace(self, wanted=None, earlier=self.past())


class FileRow(Struct, frozen=True, tag="file", tag_field="kind", omit_defaults=True):
    """One file of one group. See `AdjRow`. ``inode``: of the group's directory, 0 if not known."""

    hierarchy: str
    path: str
    file: str
    before: str
    rule: str
    written: str | None = None
    wanted: str | None = None
    give_back: bool = True
    origin: str = ""
    inode: int = 0

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The subject of the row."""
        return ("file", self.hierarchy, self.path, self.file)

    def settled(self) -> "FileRow":
        """Return the row after the wanted text was written."""
        return replace(self, written=self.wanted, wanted=None)

    def refused(self) -> "FileRow | None":
        """Return the row after the wanted text was refused; None: then we wrote nothing."""
        return None if self.written is None else replace(self, wanted=None)


class GroupRow(Struct, frozen=True, tag="group", tag_field="kind", omit_defaults=True):
    """One group that we made. ``base``: the former group of the first process that we moved into it.

    ``inode``: of its directory, 0 if not known. Another program may have removed the group and made one of that name.
    ``needs``: our changes of groups above that are not ours, each as path, file and text (`cgroups.Need`).
    """

    hierarchy: str
    path: str
    rule: str
    give_back: bool = True
    origin: str = ""
    base: str = ""
    inode: int = 0
    needs: tuple[tuple[str, str, str], ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """The subject of the row."""
        return ("group", self.hierarchy, self.path)


class OverrideRow(Struct, frozen=True, tag="override", tag_field="kind", omit_defaults=True):
    """One process whose ``oom_score_adj`` is overridden for a time.

    ``expires_ticks``: clock ticks from boot to its end; 0 in a row of an earlier release. ``expires_unix_ns``: the time
    of day of its end when it began; the system's clock may be set since then.
    """

    pid: int
    start_ticks: int
    adj: Adj
    expires_unix_ns: int
    why: str = ""
    expires_ticks: int = 0

    def left_ns(self, unix_ns: int, ticks: int) -> int:
        """Return the nanoseconds until its end."""
        return (self.expires_ticks - ticks) * TICK_NS if self.expires_ticks else self.expires_unix_ns - unix_ns

    def shown_unix_ns(self, unix_ns: int, ticks: int) -> int:
        """Return the time of day of its end; another one than at its beginning if the clock was set since."""
        by_now = unix_ns + self.left_ns(unix_ns, ticks)
        return by_now if abs(by_now - self.expires_unix_ns) > 10**9 else self.expires_unix_ns

    @property
    def key(self) -> tuple[str, int, int]:
        """The subject of the row."""
        return ("override", self.pid, self.start_ticks)


class Drop(Struct, frozen=True, tag="drop", tag_field="kind"):
    """A line that drops a row; ``of`` is the row's key. Only the file has such lines."""

    of: tuple[str | int, ...]


Row: TypeAlias = AdjRow | MoveRow | FileRow | GroupRow | OverrideRow
Line: TypeAlias = AdjRow | MoveRow | FileRow | GroupRow | OverrideRow | Drop
