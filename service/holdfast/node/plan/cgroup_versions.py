"""Translates a setting between cgroup v1 and v2: the file that has another name on the other version.

The equivalents are those that container runtimes use when they carry v1 resources to v2
(https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md). For ``cpu.shares`` it is the curve that runc
and crun have since 2025 (https://github.com/kubernetes/kubernetes/issues/131216), which keeps the default a default::

    l = log2(shares)    weight = ceil(10 ^ ((l² + 125 l) / 612 - 7 / 34))       2 → 1, 1024 → 100, 262144 → 10000

The way back is the same curve in reverse: the largest shares that the curve turns into ``weight``. So a weight that
goes to shares and back, through us or through a runtime, is unchanged. A setting without an equivalent is listed with
the nearest alternative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from holdfast.errors import InvalidArgument, NoEquivalent
from holdfast.node.rule.quantity import Value, size_in_bytes, whole
from holdfast.node.rule.setting import plain, size_v1, size_v2

Lines = tuple[tuple[str, str], ...]  # (file, text), in the order of writing


def weight_of_shares(shares: int) -> int:
    """Return ``cpu.weight`` (1..10000) for ``cpu.shares`` (2..262144): 2 → 1, 1024 → 100, 262144 → 10000."""
    log = math.log2(min(max(shares, 2), 262144))
    return min(max(math.ceil(round(10 ** ((log * log + 125 * log) / 612 - 7 / 34), 6)), 1), 10000)


def shares_of_weight(weight: int) -> int:
    """Return ``cpu.shares`` for ``cpu.weight``: the largest shares that `weight_of_shares` turns into this weight."""
    log = (-125 + math.sqrt(125**2 + 4 * 612 * (math.log10(weight) + 7 / 34))) / 2
    return min(max(math.floor(round(2**log, 6)), 2), 262144)


def _shares_to_v2(value: Value, _: Mapping[str, Value]) -> Lines:
    return (("cpu.weight", str(weight_of_shares(whole(value, 2, 262144)))),)


def _weight_to_v1(value: Value, _: Mapping[str, Value]) -> Lines:
    return (("cpu.shares", str(shares_of_weight(whole(value, 1, 10000)))),)


def _cpu_max_to_v1(value: Value, _: Mapping[str, Value]) -> Lines:
    quota, _space, period = plain(value).partition(" ")
    first = (("cpu.cfs_period_us", str(whole(period, 1000, 1000000))),) if period else ()
    return (*first, ("cpu.cfs_quota_us", "-1" if quota == "max" else str(whole(quota, 1000, 1 << 44))))


def _quota_to_v2(value: Value, settings: Mapping[str, Value]) -> Lines:
    quota = whole(value, -1, 1 << 44)
    period = whole(settings.get("cpu.cfs_period_us", 100000), 1000, 1000000)
    return (("cpu.max", f"{'max' if quota < 0 else quota} {period}"),)


def _period_to_v2(value: Value, settings: Mapping[str, Value]) -> Lines:
    if "cpu.cfs_quota_us" not in settings:
        raise NoEquivalent("cpu.max needs cpu.cfs_quota_us beside it")
    whole(value, 1000, 1000000)
    return ()


def _memsw_to_v2(value: Value, settings: Mapping[str, Value]) -> Lines:
    total, memory = size_in_bytes(value), settings.get("memory.limit_in_bytes", settings.get("memory.max"))
    if total is None:
        return (("memory.swap.max", "max"),)
    limit = None if memory is None else size_in_bytes(memory)
    if limit is None:
        raise NoEquivalent("memory.swap.max counts swap alone: give memory.max, too")
    if total < limit:
        raise InvalidArgument(f"{total} is memory and swap together, and less than the memory limit {limit}")
    return (("memory.swap.max", str(total - limit)),)


def _swap_to_v1(value: Value, settings: Mapping[str, Value]) -> Lines:
    swap, memory = size_in_bytes(value), settings.get("memory.max", settings.get("memory.limit_in_bytes"))
    if swap is None:
        return (("memory.memsw.limit_in_bytes", "-1"),)
    limit = None if memory is None else size_in_bytes(memory)
    if limit is None:
        raise NoEquivalent("memory.memsw.limit_in_bytes counts memory and swap: give memory.max, too")
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
    for line in plain(value).rstrip("\n").split("\n"):
        device, *limits = line.split()
        for limit in limits:
            key, _equals, number = limit.partition("=")
            if key not in _IO_KEYS:
                raise InvalidArgument(f'"{line}" is not DEVICE with any of rbps= wbps= riops= wiops=')
            lines.append((_IO_KEYS[key], f"{device} {0 if number == 'max' else whole(number, 0, 1 << 62)}"))
    return tuple(lines)


def _throttle_to_v2(key: str) -> Callable[[Value, Mapping[str, Value]], Lines]:
    def convert(value: Value, _: Mapping[str, Value]) -> Lines:
        lines = []
        for line in plain(value).rstrip("\n").split("\n"):
            device, _space, number = line.partition(" ")
            limit = whole(number.strip() or "nothing", 0, 1 << 62)
            lines.append(("io.max", f"{device} {key}={limit or 'max'}"))
        return tuple(lines)

    return convert


def _frozen(file: str, words: Mapping[str, str]) -> Callable[[Value, Mapping[str, Value]], Lines]:
    def convert(value: Value, _: Mapping[str, Value]) -> Lines:
        if str(value).upper() not in words:
            raise InvalidArgument(f'"{plain(value)}" is none of {", ".join(words)}')
        return ((file, words[str(value).upper()]),)

    return convert


def _same_size(file: str, written: Callable[[Value], str]) -> Callable[[Value, Mapping[str, Value]], Lines]:
    return lambda value, _: ((file, written(value)),)


def _same(file: str) -> Callable[[Value, Mapping[str, Value]], Lines]:
    return lambda value, _: ((file, plain(value)),)


#: v1 name → the lines to write on v2.
TO_V2: Mapping[str, Callable[[Value, Mapping[str, Value]], Lines]] = {
    "memory.limit_in_bytes": _same_size("memory.max", size_v2),
    "memory.soft_limit_in_bytes": _same_size("memory.low", size_v2),
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
#: v2 name → the lines to write on v1.
TO_V1: Mapping[str, Callable[[Value, Mapping[str, Value]], Lines]] = {
    "memory.max": _same_size("memory.limit_in_bytes", size_v1),
    "memory.low": _same_size("memory.soft_limit_in_bytes", size_v1),
    "memory.swap.max": _swap_to_v1,
    "cpu.weight": _weight_to_v1,
    "cpu.max": _cpu_max_to_v1,
    "cpu.max.burst": _same("cpu.cfs_burst_us"),
    "io.weight": _io_weight_to_v1,
    "io.bfq.weight": _same("blkio.bfq.weight"),
    "io.max": _io_max_to_v1,
    "cgroup.freeze": _frozen("freezer.state", {"1": "FROZEN", "0": "THAWED"}),
}
#: Files that only one version has, and the nearest alternative on the other.
ONLY_V2 = {
    "memory.min": "v1 has no guarantee; memory.soft_limit_in_bytes is the nearest and is what memory.low means",
    "memory.high": "v1 has no throttling limit; memory.limit_in_bytes (memory.max) is the hard one",
    "memory.swap.high": "v1 has no throttling limit for swap; memory.memsw.limit_in_bytes is the hard one",
    "memory.oom.group": "v1 kills single processes; memory.oom_control only turns killing off",
    "memory.zswap.max": "v1 has no file for it",
    "memory.zswap.writeback": "v1 has no file for it",
    "cpu.weight.nice": "v1 has cpu.shares; write cpu.weight, which is translated",
    "cpuset.cpus.exclusive": "v1 has cpuset.cpu_exclusive, which does not isolate",
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
    "cpuset.mem_hardwall": "v2 has no file for it",
    "cpuset.memory_migrate": "v2 always moves a process's pages with cpuset.mems",
    "cpuset.memory_spread_page": "v2 has no file for it; numactl's interleave policy is the program's own",
    "cpuset.memory_spread_slab": "v2 has no file for it",
    "cpuset.sched_load_balance": "v2 has cpuset.cpus.partition, which isolates",
    "cpuset.sched_relax_domain_level": "v2 has no file for it",
    "blkio.weight_device": "v2 takes a device before the weight: io.weight",
    "net_cls.classid": "v2 matches the cgroup's path in nftables instead",
    "net_prio.ifpriomap": "v2 has no file for it",
}
