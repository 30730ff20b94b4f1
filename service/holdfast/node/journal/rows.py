"""What the journal remembers, a row each: values of processes, of files of groups, groups made, holds by hand."""

from __future__ import annotations

from msgspec import Struct

from holdfast.late import regex

ADJ = "oom_score_adj"


class HeldRow(Struct, frozen=True):
    """One value of one process. ``field`` is `ADJ` or ``cgroup:<hierarchy>``; ``give_back``: when its rule goes."""

    pid: int
    start_ticks: int
    field: str
    before: str
    written: str
    rule: str
    as_child: bool = False
    give_back: bool = True
    previous: str = ""

    def is_ours(self, present: str) -> bool:
        """Whether a present value is one that we wrote."""
        return present in (self.written, self.previous or self.written)


class SettingRow(Struct, frozen=True):
    """One file of one group."""

    hierarchy: str
    path: str
    file: str
    before: str
    written: str
    rule: str
    give_back: bool = True
    previous: str = ""


class MadeRow(Struct, frozen=True):
    """One group that we made."""

    hierarchy: str
    path: str
    rule: str


class HandRow(Struct, frozen=True):
    """One process held by hand until ``expires_ns`` (Unix time)."""

    pid: int
    start_ticks: int
    adj: int
    expires_ns: int
    why: str


_SURROGATE = regex("[\ud800-\udfff]")
_STORED = regex("\0([0-9a-f]{4})")


def stored(text: str) -> str:
    """``text`` for a file that holds UTF-8. A path may hold any bytes but NUL: a byte that is no UTF-8 is NUL and four
    digits; `as_read` undoes it exactly.
    """
    return text if text.isascii() else _SURROGATE.sub(lambda found: f"\0{ord(found[0]):04x}", text)


def as_read(text: str) -> str:
    """What was `stored`."""
    return _STORED.sub(lambda found: chr(int(found[1], 16)), text) if "\0" in text else text


def cgroup_field(hierarchy: str) -> str:
    """The ``field`` of a move in one hierarchy."""
    return f"cgroup:{hierarchy}"
