"""Settings of cgroups: which file of which controller says it on this host, and whether it is said already.

Names and units are the kernel's: https://docs.kernel.org/admin-guide/cgroup-v1/ and
https://docs.kernel.org/admin-guide/cgroup-v2.html.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.errors import NoEquivalent
from holdfast.late import regex
from holdfast.node.plan.cgroup_versions import ONLY_V1, ONLY_V2, TO_V1, TO_V2, Lines, Value, plain, size_v1, size_v2
from holdfast.node.plan.quantity import size_in_bytes

V1_NO_LIMIT = 1 << 62  # anything above is v1's way of saying "max" (PAGE_COUNTER_MAX in bytes)
_SIZES = frozenset({"memory.min", "memory.low", "memory.high", "memory.max", "memory.swap.max", "memory.swap.high"}) | {
    name for name in (*TO_V2, *ONLY_V1) if name.endswith("_in_bytes")
}
_BOTH = regex(r"hugetlb\.([^.]+)\.(max|limit_in_bytes)\Z")


def controller_of(file: str) -> str:
    """The controller whose file it is; empty for ``cgroup.*``, which every group has."""
    controller = file.partition(".")[0]
    return "" if controller == "cgroup" else controller


def lines_for(name: str, value: Value, given: Mapping[str, Value], *, v2: bool) -> Lines:
    """What to write for one setting on this version; ``given`` are all settings of the rule.

    Raises:
        NoEquivalent: this version has nothing that means the same.
        InvalidArgument: the value is not one.
    """
    elsewhere, missing = (TO_V2, ONLY_V1) if v2 else (TO_V1, ONLY_V2)
    if name in elsewhere:
        return elsewhere[name](value, given)
    if name in missing:
        raise NoEquivalent(missing[name])
    if found := _BOTH.match(name):
        page = found[1]
        return ((f"hugetlb.{page}.{'max' if v2 else 'limit_in_bytes'}", (size_v2 if v2 else size_v1)(value)),)
    if name in _SIZES:
        return ((name, (size_v2 if v2 else size_v1)(value)),)
    return ((name, plain(value)),)


def is_in_force(file: str, wanted: str, now: str | None, page_bytes: int = 4096) -> bool:
    """Whether the file already says what we would write, in the kernel's own rounding and spelling."""
    if now is None:
        return False
    if now == wanted:
        return True
    if file in _SIZES:
        asked, has = size_in_bytes(wanted), size_in_bytes(now)
        has = None if has is not None and has >= V1_NO_LIMIT else has
        return asked == has or (asked is not None and has is not None and asked // page_bytes == has // page_bytes)
    return now == f"default {wanted}" or now.split() == wanted.split()
