"""Settings of cgroups: which file of which controller, in which unit, and what it is called on the other version.

One table. Names and units are the kernel's (https://docs.kernel.org/admin-guide/cgroup-v1/ and
https://docs.kernel.org/admin-guide/cgroup-v2.html); the equivalents are those container runtimes use when they
carry v1 resources to v2, https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md, and for
``cpu.shares`` the curve of 2025 that keeps the default a default (1024 shares are weight 100).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from holdfast.errors import InvalidArgument

Value = int | str | tuple[str, ...]
Lines = tuple[tuple[str, str], ...]  # (file, text), in the order of writing

V1_NO_LIMIT = 1 << 62  # anything above is v1's way of saying "max" (PAGE_COUNTER_MAX in bytes)
_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4} | {
    f"{prefix}i": 1024 ** (power + 1) for power, prefix in enumerate("KMGT")
}
_SIZE = re.compile(r"(\d+)\s*([KMGT]i?)?B?\Z")


@dataclass(frozen=True, slots=True)
class NoEquivalent(Exception):  # noqa: N818 (an outcome the planner turns into a refusal)
    """``name`` cannot be said on this version; ``why`` names what exists instead, if anything."""

    name: str
    why: str

    def __str__(self) -> str:
        return self.why


def size_in_bytes(value: Value) -> int | None:
    """A size as bytes; None for no limit (``max``, ``-1``).

    Raises:
        InvalidArgument: it is not a size.
    """
    if value in ("max", "-1", -1):
        return None
    if isinstance(value, int) and value >= 0:
        return value
    found = _SIZE.match(str(value).strip())
    if not found:
        raise InvalidArgument(f'"{value}" is not a size: write a number of bytes, 256Mi, 2G or max')
    return int(found[1]) * _UNITS[found[2] or ""]


def _plain(value: Value) -> str:
    return "\n".join(value) if isinstance(value, tuple) else str(value)


def _size_v1(value: Value) -> str:
    size = size_in_bytes(value)
    return "-1" if size is None else str(size)


def _size_v2(value: Value) -> str:
    size = size_in_bytes(value)
    return "max" if size is None else str(size)


def whole(value: Value, lowest: int, highest: int) -> int:
    """A whole number within bounds.

    Raises:
        InvalidArgument: it is not.
    """
    try:
        number = int(str(value).removeprefix("default "))
    except ValueError:
        raise InvalidArgument(f'"{_plain(value)}" is not a whole number') from None
    if not lowest <= number <= highest:
        raise InvalidArgument(f"{number} is not within {lowest} and {highest}")
    return number


def weight_of_shares(shares: int) -> int:
    """``cpu.weight`` (1..10000) for ``cpu.shares`` (2..262144): 2 → 1, 1024 → 100, 262144 → 10000."""
    log = math.log2(min(max(shares, 2), 262144))
    return min(max(math.ceil(round(10 ** ((log * log + 125 * log) / 612 - 7 / 34), 6)), 1), 10000)


def shares_of_weight(weight: int) -> int:
    """``cpu.shares`` for ``cpu.weight``: the inverse of `weight_of_shares`."""
    log = (-125 + math.sqrt(125**2 + 4 * 612 * (math.log10(weight) + 7 / 34))) / 2
    return min(max(round(2**log), 2), 262144)


def _shares_to_v2(value: Value, _: Mapping[str, Value]) -> Lines:
    return (("cpu.weight", str(weight_of_shares(whole(value, 2, 262144)))),)


def _weight_to_v1(value: Value, _: Mapping[str, Value]) -> Lines:
    return (("cpu.shares", str(shares_of_weight(whole(value, 1, 10000)))),)


def _cpu_max_to_v1(value: Value, _: Mapping[str, Value]) -> Lines:
    quota, _space, period = _plain(value).partition(" ")
    first = (("cpu.cfs_period_us", str(whole(period, 1000, 1000000))),) if period else ()
    return (*first, ("cpu.cfs_quota_us", "-1" if quota == "max" else str(whole(quota, 1000, 1 << 44))))


def _quota_to_v2(value: Value, given: Mapping[str, Value]) -> Lines:
    quota = whole(value, -1, 1 << 44)
    period = whole(given.get("cpu.cfs_period_us", 100000), 1000, 1000000)
    return (("cpu.max", f"{'max' if quota < 0 else quota} {period}"),)


def _period_to_v2(value: Value, given: Mapping[str, Value]) -> Lines:
    if "cpu.cfs_quota_us" not in given:
        raise NoEquivalent("cpu.cfs_period_us", "cpu.max needs cpu.cfs_quota_us beside it")
    whole(value, 1000, 1000000)
    return ()


def _memsw_to_v2(value: Value, given: Mapping[str, Value]) -> Lines:
    total, memory = size_in_bytes(value), given.get("memory.limit_in_bytes", given.get("memory.max"))
    if total is None:
        return (("memory.swap.max", "max"),)
    limit = None if memory is None else size_in_bytes(memory)
    if limit is None:
        raise NoEquivalent("memory.memsw.limit_in_bytes", "memory.swap.max counts swap alone: give memory.max, too")
    if total < limit:
        raise InvalidArgument(f"{total} is memory and swap together, and less than the memory limit {limit}")
    return (("memory.swap.max", str(total - limit)),)


def _swap_to_v1(value: Value, given: Mapping[str, Value]) -> Lines:
    swap, memory = size_in_bytes(value), given.get("memory.max", given.get("memory.limit_in_bytes"))
    if swap is None:
        return (("memory.memsw.limit_in_bytes", "-1"),)
    limit = None if memory is None else size_in_bytes(memory)
    if limit is None:
        raise NoEquivalent(
            "memory.swap.max", "memory.memsw.limit_in_bytes counts memory and swap: give memory.max, too"
        )
    return (("memory.memsw.limit_in_bytes", str(swap + limit)),)


def _io_weight_to_v1(value: Value, _: Mapping[str, Value]) -> Lines:
    return (("blkio.bfq.weight", str(1 + (whole(value, 1, 10000) - 1) * 999 // 9999)),)


def _blkio_weight_to_v2(value: Value, _: Mapping[str, Value]) -> Lines:
    return (("io.weight", str(1 + (whole(value, 10, 1000) - 10) * 9999 // 990)),)


_IO_KEYS = {
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}


def _io_max_to_v1(value: Value, _: Mapping[str, Value]) -> Lines:
    lines = []
    for line in _plain(value).splitlines():
        device, *limits = line.split()
        for limit in limits:
            key, _equals, number = limit.partition("=")
            if key not in _IO_KEYS:
                raise InvalidArgument(f'"{line}" is not DEVICE with any of rbps= wbps= riops= wiops=')
            lines.append((_IO_KEYS[key], f"{device} {0 if number == 'max' else whole(number, 0, 1 << 62)}"))
    return tuple(lines)


def _throttle_to_v2(key: str) -> Callable[[Value, Mapping[str, Value]], Lines]:
    def convert(value: Value, _: Mapping[str, Value]) -> Lines:
        pairs = (line.split() for line in _plain(value).splitlines())
        return tuple(("io.max", f"{device} {key}={'max' if number == '0' else number}") for device, number in pairs)

    return convert


def _frozen(file: str, words: Mapping[str, str]) -> Callable[[Value, Mapping[str, Value]], Lines]:
    def convert(value: Value, _: Mapping[str, Value]) -> Lines:
        if str(value).upper() not in words:
            raise InvalidArgument(f'"{_plain(value)}" is none of {", ".join(words)}')
        return ((file, words[str(value).upper()]),)

    return convert


def _same_size(file: str, written: Callable[[Value], str]) -> Callable[[Value, Mapping[str, Value]], Lines]:
    return lambda value, _: ((file, written(value)),)


def _same(file: str) -> Callable[[Value, Mapping[str, Value]], Lines]:
    return lambda value, _: ((file, _plain(value)),)


#: v1 name → how it is said on v2.
TO_V2: Mapping[str, Callable[[Value, Mapping[str, Value]], Lines]] = {
    "memory.limit_in_bytes": _same_size("memory.max", _size_v2),
    "memory.soft_limit_in_bytes": _same_size("memory.low", _size_v2),
    "memory.memsw.limit_in_bytes": _memsw_to_v2,
    "cpu.shares": _shares_to_v2,
    "cpu.cfs_quota_us": _quota_to_v2,
    "cpu.cfs_period_us": _period_to_v2,
    "cpu.cfs_burst_us": _same("cpu.max.burst"),
    "blkio.weight": _blkio_weight_to_v2,
    "blkio.bfq.weight": _same("io.bfq.weight"),
    **{file: _throttle_to_v2(key) for key, file in _IO_KEYS.items()},
    "freezer.state": _frozen("cgroup.freeze", {"FROZEN": "1", "THAWED": "0"}),
}
#: v2 name → how it is said on v1.
TO_V1: Mapping[str, Callable[[Value, Mapping[str, Value]], Lines]] = {
    "memory.max": _same_size("memory.limit_in_bytes", _size_v1),
    "memory.low": _same_size("memory.soft_limit_in_bytes", _size_v1),
    "memory.swap.max": _swap_to_v1,
    "cpu.weight": _weight_to_v1,
    "cpu.max": _cpu_max_to_v1,
    "cpu.max.burst": _same("cpu.cfs_burst_us"),
    "io.weight": _io_weight_to_v1,
    "io.bfq.weight": _same("blkio.bfq.weight"),
    "io.max": _io_max_to_v1,
    "cgroup.freeze": _frozen("freezer.state", {"1": "FROZEN", "0": "THAWED"}),
}
#: Files only one version has, and what to think of on the other.
ONLY_V2 = {
    "memory.min": "v1 has no guarantee; memory.soft_limit_in_bytes is the nearest and is what memory.low means",
    "memory.high": "v1 has no throttling limit; memory.limit_in_bytes (memory.max) is the hard one",
    "memory.swap.high": "v1 has no throttling limit for swap; memory.memsw.limit_in_bytes is the hard one",
    "memory.oom.group": "v1 kills single processes; memory.oom_control only turns killing off",
    "memory.zswap.max": "v1 has no file for it",
    "memory.reclaim": "v1 has memory.force_empty, which takes everything",
    "cpu.weight.nice": "v1 has cpu.shares; write cpu.weight, which is translated",
    "cpuset.cpus.partition": "v1 has cpuset.cpu_exclusive, which does not isolate",
    "io.latency": "v1 has no file for it",
    "io.prio.class": "v1 has no file for it",
}
ONLY_V1 = {
    "memory.swappiness": "v2 has no value per cgroup; memory.swap.max limits what is swapped",
    "memory.oom_control": "v2 cannot turn killing off; memory.oom.group and oom_score_adj are what it has",
    "memory.kmem.limit_in_bytes": "v2 counts kernel memory in memory.max",
    "memory.kmem.tcp.limit_in_bytes": "v2 counts socket memory in memory.max",
    "memory.move_charge_at_immigrate": "v2 leaves memory where it was charged",
    "cpu.rt_runtime_us": "v2 has no realtime budget per cgroup",
    "cpu.rt_period_us": "v2 has no realtime budget per cgroup",
    "cpuset.cpu_exclusive": "v2 has cpuset.cpus.partition, which isolates",
    "cpuset.mem_exclusive": "v2 has cpuset.cpus.partition, which isolates",
    "net_cls.classid": "v2 matches the cgroup's path in nftables instead",
    "net_prio.ifpriomap": "v2 has no file for it",
}
_SIZES = frozenset({"memory.min", "memory.low", "memory.high", "memory.max", "memory.swap.max", "memory.swap.high"}) | {
    name for name in (*TO_V2, *ONLY_V1) if name.endswith("_in_bytes")
}
_BOTH = re.compile(r"hugetlb\.([^.]+)\.(max|limit_in_bytes)\Z")


def controller_of(file: str) -> str:
    """The controller whose file it is; empty for ``cgroup.*``, which every group has."""
    controller = file.partition(".")[0]
    return "" if controller == "cgroup" else controller


def is_v1_size(file: str) -> bool:
    """Whether a v1 file holds a size."""
    return file.endswith("_in_bytes")


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
        raise NoEquivalent(name, missing[name])
    if found := _BOTH.match(name):
        page, form = found.groups()
        return ((f"hugetlb.{page}.{'max' if v2 else 'limit_in_bytes'}", (_size_v2 if v2 else _size_v1)(value)),)
    if name in _SIZES:
        return ((name, (_size_v2 if v2 else _size_v1)(value)),)
    return ((name, _plain(value)),)


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
