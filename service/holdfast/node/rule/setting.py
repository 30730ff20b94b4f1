"""The cgroup files that a rule may write, and the values that each may have: a closed list.

Theory
------
1. *A setting is a name of this table*, one path component. The reader of a rule (from a configuration, a bundle, a
   request) refuses everything else: files that move or kill processes (``cgroup.procs``, ``tasks``, ``cgroup.kill``),
   that run programs (``release_agent``), that change the shape of the tree (``cgroup.subtree_control``,
   ``cgroup.type``), device filters (``devices.*``), and any path.
2. *A value has a type and a range*, checked before anything is written. The kernel's errno would give neither.
3. *A row is a setting, not an action.* ``memory.reclaim`` or ``memory.force_empty`` do something at each write, have no
   value to restore, and a rescan would repeat them.

Names, units and ranges are the kernel's: https://docs.kernel.org/admin-guide/cgroup-v2.html and
https://docs.kernel.org/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from holdfast.config.decode import suggestion
from holdfast.errors import InvalidArgument
from holdfast.node.rule.quantity import Value, size_in_bytes, whole

V1_NO_LIMIT = 1 << 62  # on v1 this and anything above means "max" (PAGE_COUNTER_MAX in bytes)
_MOST = 1 << 62
_HIGHEST_CPU = 1 << 20
_DEVICE = re.compile(r"[0-9]{1,7}:[0-9]{1,7}")
_FREEZES = ("cgroup.freeze", "freezer.state", "memory.oom_control")
_WORD = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")
_RANGE = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?")
_LONGEST = 4096  # bytes: the kernel takes a page at once
_SHOWN = 64  # characters of a name in a message
_PERCENT = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,2})?")
_HUGETLB = re.compile(r"hugetlb\.([1-9][0-9]{0,6}[KMG]B)\.(max|rsvd\.max|limit_in_bytes|rsvd\.limit_in_bytes)")
SIZE_OF_PAGE = "SIZE"  # stands for a huge page's size in a name of the table


class ValueType(Struct, frozen=True):
    """The type of a file's value. ``words`` describe it; ``written`` returns the text, or raises InvalidArgument.

    ``unlimited`` returns whether a text read from the file limits nothing; None: the file is not a limit.
    ``keyed``: a line is about one device (or interface, or resource), and other lines stand beside it. ``absent``: the
    value that removes the line of a device, so that the file has none about it again.
    """

    words: str
    written: Callable[[Value], str]
    unlimited: Callable[[str], bool] | None = None
    keyed: bool = False
    is_size: bool = False
    absent: str = ""


class Setting(Struct, frozen=True):
    """One file: the cgroup versions that have it, and the type of its value."""

    file: str
    v1: bool
    v2: bool
    kind: ValueType


def plain(value: Value) -> str:
    """The value as text: a list becomes one line per entry."""
    return "\n".join(value) if isinstance(value, tuple) else str(value)


def size_v1(value: Value) -> str:
    """A size as v1 spells it."""
    size = size_in_bytes(value)
    return "-1" if size is None else str(size)


def size_v2(value: Value) -> str:
    """A size as v2 spells it."""
    size = size_in_bytes(value)
    return "max" if size is None else str(size)


def _says_max(text: str) -> bool:
    return text.split(" ", 1)[0] == "max"


def _is_no_size(text: str) -> bool:
    return text in ("max", "-1") or (text.isdecimal() and int(text) >= V1_NO_LIMIT)


def _names_no_limit(text: str) -> bool:
    """Whether a text of ``io.max``, or of a file like it, has no line with a number."""
    return not any(word.partition("=")[2] != "max" for line in text.split("\n") for word in line.split()[1:])


def _number(lowest: int, highest: int, words: str = "") -> ValueType:
    return ValueType(words or f"{lowest} to {highest}", lambda value: str(whole(value, lowest, highest)))


def _count() -> ValueType:
    def written(value: Value) -> str:
        return "max" if value == "max" else str(whole(value, 0, _MOST))

    return ValueType("a number, or `max`", written, unlimited=_says_max)


def _choice(*words: str) -> ValueType:
    def written(value: Value) -> str:
        if str(value) not in words:
            raise InvalidArgument(f'"{plain(value)}" is none of {", ".join(words)}')
        return str(value)

    return ValueType(", ".join(f"`{word}`" for word in words), written)


def _freezer(value: Value) -> str:
    if str(value).upper() not in ("FROZEN", "THAWED"):
        raise InvalidArgument(f'"{plain(value)}" is none of FROZEN, THAWED')
    return str(value).upper()


def _cpu_max(value: Value) -> str:
    text = plain(value)
    quota, space, period = text.partition(" ")
    if text.endswith("%"):
        hint = ""
        if (found := _PERCENT.fullmatch(text[:-1])) and (part := round(float(found[0]) * 1000)):
            hint = f': write "{part} 100000", which is {text} of one CPU'
        raise InvalidArgument(f'"{text}" is a percentage{hint or ", and the file takes microseconds"}')
    if quota != "max":
        whole(quota, 1000, 1 << 44)
    if space:
        whole(period, 1000, 1_000_000)
    return text


def _quota(value: Value) -> str:
    return "-1" if str(value) == "-1" else str(whole(value, 1000, 1 << 44))


def _percentage(value: Value) -> str:
    text = plain(value)
    if text.endswith("%"):
        raise InvalidArgument(f'"{text}": write it without the %, as {text[:-1]}')
    if text != "max" and not (_PERCENT.fullmatch(text) and float(text) <= 100):
        raise InvalidArgument(f'"{text}" is not a percentage from 0 to 100, or max')
    return text


def _numbers(value: Value) -> str:
    text = plain(value)
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise InvalidArgument(f'"{text}" is not a list of numbers and ranges, as 0-3,7')
        first, last = int(found[1]), int(found[2] or found[1])
        if first > last:
            raise InvalidArgument(f'"{text}": the range {part.strip()} is reversed: write {last}-{first}')
        if last > _HIGHEST_CPU:
            raise InvalidArgument(f'"{text}": {last} is more than a machine has')
    return text


def _lines(
    words: str, check: Callable[[str, list[str]], object], unlimited: Callable[[str], bool] | None, absent: str
) -> ValueType:
    """The type of a value of lines: a first word (the subject), and more words."""

    def written(value: Value) -> str:
        text = plain(value)
        for line in text.split("\n"):
            subject, *more = line.split(" ")
            if not more or not all(more):
                raise InvalidArgument(f'"{line}" is not {words}')
            check(subject, more)
        return text

    return ValueType(words, written, unlimited, keyed=True, absent=absent)


def _device(subject: str) -> None:
    if not _DEVICE.fullmatch(subject):
        raise InvalidArgument(f'"{subject}" is no device: write MAJOR:MINOR, as 8:0 (lsblk prints them)')


def _keyed(names: Mapping[str, Callable[[str], object]], words: str, subject: Callable[[str], object]) -> ValueType:
    """The type of a value of lines ``SUBJECT key=value …``."""

    def check(about: str, more: list[str]) -> None:
        subject(about)
        for word in more:
            key, _, number = word.partition("=")
            if key not in names:
                raise InvalidArgument(f'"{word}" is not one of {" ".join(f"{name}=" for name in names)}')
            names[key](number)

    return _lines(words, check, _names_no_limit, "max")


def _numbered(
    words: str, subject: Callable[[str], object], number: Callable[[str], object], *, limit: bool
) -> ValueType:
    """The type of a value of lines ``SUBJECT NUMBER``."""

    def check(about: str, more: list[str]) -> None:
        subject(about)
        if len(more) != 1:
            raise InvalidArgument(f'"{about} {" ".join(more)}" is not {words}')
        number(more[0])

    return _lines(words, check, (lambda text: not text) if limit else None, "0")


def _weight(lowest: int, highest: int) -> ValueType:
    """The type of a weight, or of weights of devices."""

    def written(value: Value) -> str:
        text = plain(value)
        if isinstance(value, int) or not text.startswith(tuple("0123456789")) or ":" not in text:
            return str(whole(value, lowest, highest))
        for line in text.split("\n"):
            device, _, number = line.partition(" ")
            _device(device)
            whole(number, lowest, highest)
        return text

    words = f"{lowest} to {highest}; for a device `MAJOR:MINOR` before it"
    return ValueType(words, written, keyed=True, absent="default")


def _or_max(number: str) -> str:
    return "max" if number == "max" else str(whole(number, 0, _MOST))


def _name(text: str) -> None:
    if not _WORD.fullmatch(text):
        raise InvalidArgument(f'"{text}" is not the name of a device, interface or resource')


def _classid(value: Value) -> str:
    text = plain(value)
    try:
        number = int(text, 0) if len(text) <= 12 else -1
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise InvalidArgument(f'"{text}" is no class: write 0xAAAABBBB for tc\'s AAAA:BBBB')
    return str(number)


_SIZE_V1 = ValueType("bytes (`256Mi`, `2G`), or `-1`", size_v1, _is_no_size, is_size=True)
_SIZE_V2 = ValueType("bytes (`256Mi`, `2G`), or `max`", size_v2, _is_no_size, is_size=True)
_PROTECTION = replace(_SIZE_V2, unlimited=None)
_SWITCH = _number(0, 1, "`0` or `1`")
_CPUS = ValueType("numbers and ranges (`0-3,7`)", _numbers, lambda text: not text)
_THROTTLE = _numbered("`MAJOR:MINOR NUMBER`, 0 for no limit", _device, lambda text: whole(text, 0, _MOST), limit=True)
_US = _number(0, 1 << 44, "microseconds from 0")


def _both(kind: ValueType, *files: str) -> Iterator[Setting]:
    return (Setting(file, True, True, kind) for file in files)


def _v1(kind: ValueType, *files: str) -> Iterator[Setting]:
    return (Setting(file, True, False, kind) for file in files)


def _v2(kind: ValueType, *files: str) -> Iterator[Setting]:
    return (Setting(file, False, True, kind) for file in files)


def _memory() -> Iterator[Setting]:
    yield from _v2(_PROTECTION, "memory.min", "memory.low")
    yield from _v2(_SIZE_V2, "memory.high", "memory.max", "memory.swap.high", "memory.swap.max", "memory.zswap.max")
    yield from _v2(_SWITCH, "memory.zswap.writeback", "memory.oom.group")
    yield from _v1(_SIZE_V1, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    yield from _v1(_SIZE_V1, "memory.kmem.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes")
    yield from _v1(replace(_SIZE_V1, unlimited=None), "memory.soft_limit_in_bytes")
    yield from _v1(_number(0, 200), "memory.swappiness")
    yield from _v1(_SWITCH, "memory.oom_control")
    yield from _v1(_number(0, 3), "memory.move_charge_at_immigrate")


def _cpu() -> Iterator[Setting]:
    yield from _v2(_number(1, 10_000), "cpu.weight")
    yield from _v2(_number(-20, 19), "cpu.weight.nice")
    yield from _v2(
        ValueType("`QUOTA` or `QUOTA PERIOD` in microseconds, `max` for no quota", _cpu_max, _says_max), "cpu.max"
    )
    yield from _v2(_US, "cpu.max.burst")
    yield from _both(_SWITCH, "cpu.idle")
    yield from _both(
        ValueType("a percentage without the sign (`20`, `12.5`), or `max`", _percentage),
        "cpu.uclamp.min",
        "cpu.uclamp.max",
    )
    yield from _v1(_number(2, 262_144), "cpu.shares")
    yield from _v1(ValueType("microseconds from 1000, or `-1`", _quota, lambda text: text == "-1"), "cpu.cfs_quota_us")
    yield from _v1(_number(1000, 1_000_000, "microseconds, 1000 to 1000000"), "cpu.cfs_period_us")
    yield from _v1(_US, "cpu.cfs_burst_us")
    yield from _v1(_number(-1, 1 << 44, "microseconds, or `-1`"), "cpu.rt_runtime_us")
    yield from _v1(_number(1, 1 << 44, "microseconds from 1"), "cpu.rt_period_us")


def _cpuset() -> Iterator[Setting]:
    yield from _both(_CPUS, "cpuset.cpus", "cpuset.mems")
    yield from _v2(replace(_CPUS, unlimited=None), "cpuset.cpus.exclusive")
    yield from _v2(_choice("member", "root", "isolated"), "cpuset.cpus.partition")
    for file in ("cpu_exclusive", "mem_exclusive", "mem_hardwall", "memory_migrate", "memory_spread_page"):
        yield from _v1(_SWITCH, f"cpuset.{file}")
    yield from _v1(_SWITCH, "cpuset.memory_spread_slab", "cpuset.sched_load_balance")
    yield from _v1(_number(-1, 5), "cpuset.sched_relax_domain_level")


def _block_devices() -> Iterator[Setting]:
    limits = dict.fromkeys(("rbps", "wbps", "riops", "wiops"), _or_max)
    yield from _v2(_weight(1, 10_000), "io.weight")
    yield from _v2(_weight(1, 1000), "io.bfq.weight")
    yield from _v2(
        _keyed(limits, "`MAJOR:MINOR` and any of `rbps= wbps= riops= wiops=`, each a number or `max`", _device),
        "io.max",
    )
    yield from _v2(
        replace(_keyed({"target": _or_max}, "`MAJOR:MINOR target=MICROSECONDS`", _device), unlimited=None), "io.latency"
    )
    yield from _v2(_choice("no-change", "promote-to-rt", "restrict-to-be", "idle", "none-to-rt"), "io.prio.class")
    yield from _v1(_number(10, 1000), "blkio.weight")
    yield from _v1(_weight(1, 1000), "blkio.bfq.weight")
    yield from _v1(
        _numbered("`MAJOR:MINOR NUMBER`", _device, lambda text: whole(text, 0, 1000), limit=False),
        "blkio.weight_device",
    )
    for file in ("read_bps", "write_bps", "read_iops", "write_iops"):
        yield from _v1(_THROTTLE, f"blkio.throttle.{file}_device")


def _others() -> Iterator[Setting]:
    yield from _both(_count(), "pids.max")
    yield from _v2(_SIZE_V2, f"hugetlb.{SIZE_OF_PAGE}.max", f"hugetlb.{SIZE_OF_PAGE}.rsvd.max")
    yield from _v1(_SIZE_V1, f"hugetlb.{SIZE_OF_PAGE}.limit_in_bytes", f"hugetlb.{SIZE_OF_PAGE}.rsvd.limit_in_bytes")
    handles = dict.fromkeys(("hca_handle", "hca_object"), _or_max)
    yield from _both(
        _keyed(handles, "`DEVICE` and any of `hca_handle= hca_object=`, each a number or `max`", _name), "rdma.max"
    )
    yield from _both(
        replace(_numbered("`RESOURCE NUMBER`, or `max`", _name, _or_max, limit=False), absent="max"), "misc.max"
    )
    yield from _v2(_SWITCH, "cgroup.freeze")
    yield from _v1(ValueType("`FROZEN` or `THAWED`", _freezer), "freezer.state")
    yield from _v1(ValueType("a number (`0x00100001`)", _classid), "net_cls.classid")
    yield from _v1(
        _numbered("`INTERFACE NUMBER`", _name, lambda text: whole(text, 0, 1 << 31), limit=False), "net_prio.ifpriomap"
    )


#: Every file that a rule may write, by name.
SETTINGS: Mapping[str, Setting] = {
    row.file: row for rows in (_memory, _cpu, _cpuset, _block_devices, _others) for row in rows()
}


def setting_named(name: str) -> Setting:
    """The row of a file.

    Raises:
        InvalidArgument: a rule may not write it.
    """
    found = SETTINGS.get(name)
    if found is None and (page := _HUGETLB.fullmatch(name)):
        found = SETTINGS[f"hugetlb.{SIZE_OF_PAGE}.{page[2]}"]
    if found is None or SIZE_OF_PAGE in name:
        shown = (name if name.isprintable() else ascii(name)[1:-1])[:_SHOWN]
        raise InvalidArgument(
            f'"{shown}" is no setting: a rule writes files of the list in docs/placement.md alone, by their plain names'
            f"{suggestion(shown, SETTINGS)}"
        )
    return found


def stops_processes(file: str) -> bool:
    """Whether a file can stop the processes of its group: it freezes them, or is a limit."""
    return file in _FREEZES or setting_named(file).kind.unlimited is not None


def stops(file: str, text: str) -> bool:
    """Whether this text in a file stops processes: it freezes them, or it is a limit and not the end of one."""
    if file in _FREEZES:
        return text not in ("0", "THAWED")
    unlimited = setting_named(file).kind.unlimited
    return unlimited is not None and not unlimited(text)


def controller_of(file: str) -> str:
    """The controller that a file belongs to; empty for ``cgroup.*``, which every group has."""
    controller = file.partition(".")[0]
    return "" if controller == "cgroup" else controller


def check_settings(settings: Mapping[str, Value]) -> None:
    """Refuse files that no rule may write, and invalid values.

    Raises:
        InvalidArgument: ``FILE: what is wrong``.
    """
    for name, value in settings.items():
        kind = setting_named(name).kind
        if len(plain(value).encode(errors="replace")) > _LONGEST:
            raise InvalidArgument(f"{name}: more than {_LONGEST} bytes, which the kernel does not take at once")
        try:
            text = kind.written(value)
        except InvalidArgument as error:
            raise InvalidArgument(f"{name}: {error.message}") from None
        if not kind.keyed and "\n" in text:
            raise InvalidArgument(f"{name}: it takes one line")
        if not text.replace("\n", "").isprintable():
            raise InvalidArgument(f"{name}: {text!a} has characters that no file of the kernel takes")


def parts_of(file: str, text: str) -> Mapping[str, str]:
    """The parts of a text by device and key, else under the empty name, so that two texts can be compared."""
    if not setting_named(file).kind.keyed:
        return {"": text}
    parts: dict[str, str] = {}
    for line in filter(None, text.split("\n")):  # a file without a line about any device is empty
        subject, *more = line.split() or [""]
        if not more:  # a weight without a device
            parts[""] = subject
        for word in more:
            key, equals, number = word.partition("=")
            about = "" if subject == "default" else subject
            parts[f"{about} {key}" if equals else about] = number if equals else word
    return parts


def text_of_parts(file: str, parts: Mapping[str, str]) -> str:
    """The text to write for parts (`parts_of`), a line for each."""
    if not setting_named(file).kind.keyed:
        return parts.get("", "")
    lines = []
    for about, value in parts.items():
        subject, _, key = about.partition(" ")
        lines.append(f"{subject} {key}={value}" if key else f"{subject} {value}".lstrip())
    return "\n".join(lines)


def limits_of(controllers: Iterable[str], *, v2: bool) -> tuple[Setting, ...]:
    """The files of these controllers that limit a group; without those of huge pages."""
    return _limits_of(frozenset(controllers), v2)


@lru_cache(maxsize=32)  # a machine has a dozen hierarchies, and each move asks about its own
def _limits_of(wanted: frozenset[str], v2: bool) -> tuple[Setting, ...]:
    return tuple(
        row
        for row in SETTINGS.values()
        if (row.v2 if v2 else row.v1)
        and row.kind.unlimited is not None
        and SIZE_OF_PAGE not in row.file
        and controller_of(row.file) in wanted
    )
