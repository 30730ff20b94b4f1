"""Finds the file that sets a value on this host, and whether it has the value already.

The files, their values and units are in `rule.setting`; their names on the other version are in `cgroup_versions`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from holdfast.errors import NoEquivalent
from holdfast.node.plan.cgroup_versions import ONLY_V1, ONLY_V2, TO_V1, TO_V2, Lines
from holdfast.node.rule.quantity import Value, size_in_bytes
from holdfast.node.rule.setting import (
    V1_NO_LIMIT,
    parts_of,
    setting_named,
    size_v1,
    size_v2,
    text_of_parts,
)

#: Equal to no line about a device: ``max`` in ``io.max``, 0 in v1's throttles.
_AS_ABSENT = ("max", "0")
_PERIOD = "cpu.cfs_period_us"  # of v1's quota: the shorter it is, the more the quota allows


def lines_for(name: str, value: Value, settings: Mapping[str, Value], *, v2: bool) -> Lines:
    """Return the lines to write for one setting on this version; ``settings`` are all settings of the rule.

    Raises:
        NoEquivalent: this version has no setting with this meaning.
        InvalidArgument: there is no such setting, or the value is not valid for it.
    """
    setting = setting_named(name)
    text = setting.kind.written(value)
    elsewhere, missing = (TO_V2, ONLY_V1) if v2 else (TO_V1, ONLY_V2)
    if name in elsewhere:
        return elsewhere[name](value, settings)
    if setting.v2 if v2 else setting.v1:
        return ((name, text),)
    if name.startswith("hugetlb."):
        _, page, file = name.split(".", 2)
        file = file.replace("limit_in_bytes", "max") if v2 else file.replace("max", "limit_in_bytes")
        return ((f"hugetlb.{page}.{file}", (size_v2 if v2 else size_v1)(value)),)
    raise NoEquivalent(missing[name])


def is_in_force(file: str, wanted: str, now: str | None, page_bytes: int) -> bool:
    """Whether the file already has the text that we would write, in the kernel's own rounding and spelling."""
    if now is None:
        return False
    wanted, now = as_written(file, wanted), as_written(file, now)
    if now == wanted:
        return True
    kind = setting_named(file).kind
    if kind.is_size:
        asked, has = size_in_bytes(wanted), size_in_bytes(now)
        has = None if has is not None and has >= V1_NO_LIMIT else has
        unit = _huge_page_bytes(file) or page_bytes
        return asked == has or (asked is not None and has is not None and asked // unit == has // unit)
    if kind.keyed:
        stands = parts_of(file, now)
        return all(is_same_part(number, stands.get(about)) for about, number in parts_of(file, wanted).items())
    return _spelled(file, now, wanted) == _spelled(file, wanted, wanted)


def is_same_part(wanted: str, now: str | None) -> bool:
    """Whether a part of a file (`parts_of`) has the wanted value; ``now`` None: there is no line about it."""
    return now == wanted or (now is None and wanted in _AS_ABSENT)


def as_written(file: str, text: str) -> str:
    """Return the text of a file as it is written there: some files say more than they take."""
    # oom_kill_disable 0\nunder_oom 0\noom_kill 0   ·   root invalid (Parent is not a partition root)
    if file == "memory.oom_control":
        return text.partition("\n")[0].rpartition(" ")[2]
    if file == "cpuset.cpus.partition":
        return text.partition(" ")[0]
    if file == "freezer.state" and text == "FREEZING":
        return "FROZEN"
    return text


def restoring(file: str, before: str, ours: Collection[str]) -> str:
    """Return the text that restores a file: where a line is about a device, only lines about those in ``ours``.

    A device without a line before gets the value that removes its line; other programs' lines stay.
    """
    kind = setting_named(file).kind
    if not kind.keyed:
        return as_written(file, before)
    stood = parts_of(file, before)
    return text_of_parts(file, {about: stood.get(about, kind.absent) for about in ours})


def _spelled(file: str, text: str, wanted: str) -> object:
    """Return a text in a form in which two spellings of one value are equal."""
    words = text.split()
    if _is_list(file):
        try:
            return _members(text)
        except ValueError:
            return words
    if file.startswith("cpu.uclamp.") and words != ["max"]:  # 20 becomes 20.00
        return float(text)
    if file == "cpu.max":  # it keeps a period that is not named
        return words[: len(wanted.split())]
    return words


def _is_list(file: str) -> bool:
    """Whether a file holds a list of CPUs or memory nodes."""
    return file in ("cpuset.cpus", "cpuset.mems", "cpuset.cpus.exclusive")


def _huge_page_bytes(file: str) -> int:
    """Return the size of the page that a ``hugetlb`` file counts in; 0 for every other file."""
    controller, _, rest = file.partition(".")
    size = rest.partition(".")[0].removesuffix("B")  # 2MB: the kernel's units are powers of two
    return int(size_in_bytes(f"{size}i") or 0) if controller == "hugetlb" else 0


def widens(file: str, wanted: str, now: str | None) -> bool:
    """Whether the file would limit less than now, in part at least; also True if that is not known."""
    kind = setting_named(file).kind
    if file == _PERIOD:
        return now is None or not now.isdecimal() or int(wanted) < int(now)
    if kind.unlimited is None or (now is not None and kind.unlimited(now)):
        return False
    if now is None or kind.unlimited(wanted):
        return True
    stands = parts_of(file, now)
    return any(_is_more(file, text, stands[about]) for about, text in parts_of(file, wanted).items() if about in stands)


def _is_more(file: str, wanted: str, now: str) -> bool:
    if file.startswith("cpuset."):
        return not _members(wanted) <= _members(now)
    return _amount(file, wanted, now) > _amount(file, now, now)


def _amount(file: str, text: str, now: str) -> float:
    if setting_named(file).kind.is_size:
        size = size_in_bytes(text)
        return math.inf if size is None else size
    number, _, period = text.partition(" ")
    if number in ("max", "-1") or (number == "0" and file.startswith("blkio.throttle.")):
        return math.inf
    return int(number) / int(period or now.partition(" ")[2] or 1)  # cpu.max keeps a period that is not named


def _members(text: str) -> set[int]:
    members: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.strip().partition("-")
        members.update(range(int(first), int(last or first) + 1))
    return members
