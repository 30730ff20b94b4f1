"""The data of the machine that decisions depend on: sizes, capabilities, the groups rules name, memory domains."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar, overload

from holdfast import kernel_text
from holdfast.cgroups import UNIFIED, Hierarchy, Tree, groups_of
from holdfast.errors import HoldfastError, KernelRefused, NotFound
from holdfast.node.model.memory_domain import MemoryDomain
from holdfast.node.model.process import NO_LIMIT, GroupFacts, HostFacts
from holdfast.process import read_boot_id

# include/uapi/linux/capability.h; only those that anything here depends on
_CAPABILITIES = {
    1: "CAP_DAC_OVERRIDE",
    2: "CAP_DAC_READ_SEARCH",
    12: "CAP_NET_ADMIN",
    19: "CAP_SYS_PTRACE",
    21: "CAP_SYS_ADMIN",
    24: "CAP_SYS_RESOURCE",
    34: "CAP_SYSLOG",
}
T = TypeVar("T")
MOST_SEEN = 2048  # groups kept between two rescans
_V1_NO_LIMIT = 1 << 62
_ALL_USERS = [b"0", b"0", b"4294967295"]


class Values(Mapping[str, str]):
    """Files of one group by name, each read at its first use."""

    def __init__(self, hierarchy: Hierarchy, path: str) -> None:
        self._hierarchy, self._path = hierarchy, path
        self._read: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._read:
            self._read[name] = self._found(name)
        value = self._read[name]
        if value is None:
            raise KeyError(name)
        return value

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str | T) -> str | T: ...
    def get(self, name: str, default: T | None = None) -> str | T | None:
        """Return a file's text, or ``default``, without the exception that `Mapping` raises for a missing one."""
        if name not in self._read:
            self._read[name] = self._found(name)
        value = self._read[name]
        return default if value is None else value

    def _found(self, name: str) -> str | None:
        controller = name.partition(".")[0]
        for tree in self._hierarchy.trees.values():
            if tree.name == UNIFIED or controller in tree.name.split(","):
                value = _value(tree, self._path, name)
                if value is not None:
                    return value
        return None

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in self._read.items() if value is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Groups(Mapping[str, GroupFacts]):
    """Groups by path, each read at its first use and kept until `forget`. For one thread.

    So a plan may use whatever group a process is in, and a rescan reads each group once.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy
        self._seen: dict[str, GroupFacts | None] = {}

    def __getitem__(self, path: str) -> GroupFacts:
        facts = self._facts(path)
        if facts is None:
            raise KeyError(path)
        return facts

    def get(self, path: str, default: T | None = None) -> GroupFacts | T | None:  # type: ignore[override]
        """Return a group, or ``default``, without the exception that `Mapping` raises for a missing one.

        A plan looks up several groups.
        """
        facts = self._facts(path)
        return default if facts is None else facts

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self._facts(path) is not None

    def _facts(self, path: str) -> GroupFacts | None:
        if path not in self._seen:
            if len(self._seen) >= MOST_SEEN:
                self._seen.clear()
            self._seen[path] = self._read(path)
        return self._seen[path]

    def _read(self, path: str) -> GroupFacts | None:
        return _group(self._hierarchy, path)

    def forget(self, path: str | None = None) -> None:
        """Drop one group, or all, so that the next use reads it again."""
        if path is None:
            self._seen.clear()
        else:
            self._seen.pop(path, None)

    def __iter__(self) -> Iterator[str]:
        return (path for path, facts in self._seen.items() if facts is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def read_host(proc_root: str, hierarchy: Hierarchy) -> HostFacts:
    """Read the machine's state now; ``groups`` are `Groups`, each read at its first use.

    Raises:
        KernelRefused: ``meminfo`` or the boot id cannot be read.
    """
    unified = hierarchy.trees.get(UNIFIED)
    memory = _meminfo(proc_root)
    return HostFacts(
        boot_id=read_boot_id(proc_root),
        own_pid=os.getpid(),
        memory_pages=memory["MemTotal"] * 1024 // os.sysconf("SC_PAGE_SIZE"),
        swap_pages=memory.get("SwapTotal", 0) * 1024 // os.sysconf("SC_PAGE_SIZE"),
        page_bytes=os.sysconf("SC_PAGE_SIZE"),
        cpus=os.cpu_count() or 1,
        kernel=kernel_version(),
        hierarchies=hierarchy.names,
        controllers=unified.controllers() if unified is not None else frozenset(),
        capabilities=capabilities(proc_root),
        groups=Groups(hierarchy),
        own_groups=_own_groups(proc_root),
    )


def _own_groups(proc_root: str) -> Mapping[str, str]:
    try:
        return groups_of(os.getpid(), proc_root)
    except HoldfastError:
        return {}


def capabilities(proc_root: str) -> frozenset[str]:
    """The capabilities we have that matter here; none inside another user namespace than the initial one."""
    if not in_initial_user_namespace(proc_root):
        return frozenset()
    try:
        effective = _effective(kernel_text.read(f"{proc_root}/self/status"))
    except KernelRefused:
        return frozenset()
    return frozenset(name for bit, name in _CAPABILITIES.items() if effective >> bit & 1)


def _effective(status: bytes) -> int:
    """The bits of ``CapEff``; none where the line is missing."""
    # CapEff:	000001ffffffffff
    found = next((line for line in kernel_text.lines(status) if line.startswith(b"CapEff:\t")), b"CapEff:\t0")
    try:
        return int(found.removeprefix(b"CapEff:\t"), 16)
    except ValueError:
        raise kernel_text.malformed("status of this process") from None


def in_initial_user_namespace(proc_root: str) -> bool:
    """Whether our capabilities count on the machine (user_namespaces(7)); without the file there is no other one."""
    try:
        return kernel_text.words(kernel_text.read(f"{proc_root}/self/uid_map").rstrip(b"\n")) == _ALL_USERS
    except KernelRefused:
        return True


def _group(hierarchy: Hierarchy, path: str) -> GroupFacts | None:
    if not any(tree.exists(path) for tree in hierarchy.trees.values() if tree.name or tree.controllers()):
        return None
    values = Values(hierarchy, path)
    limit = values.get("memory.limit_in_bytes") or values.get("memory.max")
    return GroupFacts(
        memory_limit=_limit(limit),
        cpus=values.get("cpuset.cpus"),
        mems=values.get("cpuset.mems"),
        type=values.get("cgroup.type", "domain"),
        frozen=values.get("freezer.state") in ("FROZEN", "FREEZING") or values.get("cgroup.freeze") == "1",
        subtree_control=tuple(values.get("cgroup.subtree_control", "").split()),
        values=values,
    )


def _value(tree: Tree, path: str, name: str) -> str | None:
    try:
        return tree.read(path, name)
    except KernelRefused:  # not a file of this group: its controller is off
        return None


def _limit(text: str | None) -> int:
    if text is None or text == "max":
        return NO_LIMIT
    number = _number(text)
    return NO_LIMIT if number >= _V1_NO_LIMIT else number


def _number(text: str) -> int:
    """Parse a number in a group's file.

    Raises:
        UnknownKernelText: it is not a number.
    """
    if not text.isdecimal() or not text.isascii():
        raise kernel_text.malformed("a number in a file of a cgroup")
    return int(text)


def _usage(tree: Tree, path: str) -> int:
    text = _value(tree, path, "memory.current" if tree.name == UNIFIED else "memory.usage_in_bytes")
    return _number(text) if text else 0


def memory_tree(hierarchy: Hierarchy) -> Tree | None:
    """The hierarchy that limits memory; None without one."""
    try:
        return hierarchy.tree(hierarchy.name_of("memory"))
    except NotFound:
        return None


def innermost_limit(hierarchy: Hierarchy, path: str) -> str:
    """The nearest memory group with a limit at or above ``path``; ``/`` (the node) without one."""
    tree = memory_tree(hierarchy)
    while tree is not None and path not in ("", "/"):
        text = _value(tree, path, "memory.max" if tree.name == UNIFIED else "memory.limit_in_bytes")
        if _limit(text) != NO_LIMIT:
            return path
        path = path.rsplit("/", 1)[0]
    return "/"


def read_domains(hierarchy: Hierarchy, host: HostFacts) -> tuple[MemoryDomain, ...]:
    """The memory domains: the node first, then every memory group with a limit of its own, top down."""
    tree = memory_tree(hierarchy)
    if tree is None:
        return (MemoryDomain("/", host.memory_pages, host.swap_pages),)
    limited: list[tuple[str, int, int]] = []
    group_kill: set[str] = set()
    for path in hierarchy.below(tree, "/"):
        text = _value(tree, path, "memory.max" if tree.name == UNIFIED else "memory.limit_in_bytes")
        limit = _limit(text)
        if limit != NO_LIMIT:
            limited.append((path, limit // host.page_bytes, _swap_pages(tree, path, limit, host)))
        if tree.name == UNIFIED and _value(tree, path, "memory.oom.group") == "1":
            group_kill.add(path)
    domains = [MemoryDomain("/", host.memory_pages, host.swap_pages, 0, frozenset(group_kill))]
    for path, pages, swap in limited:
        killed = frozenset(group for group in group_kill if group == path or group.startswith(f"{path}/"))
        domains.append(MemoryDomain(path, pages, swap, _usage(tree, path) // host.page_bytes, killed))
    return tuple(domains)


def _swap_pages(tree: Tree, path: str, limit: int, host: HostFacts) -> int:
    """The pages of swap that count on top of a limit (mem_cgroup_get_max in mm/memcontrol.c)."""
    if not host.swap_pages:
        return 0
    if tree.name == UNIFIED:
        own = _limit(_value(tree, path, "memory.swap.max"))
    else:
        both = _limit(_value(tree, path, "memory.memsw.limit_in_bytes"))
        own = NO_LIMIT if both == NO_LIMIT else max(0, both - limit)
    return host.swap_pages if own == NO_LIMIT else min(host.swap_pages, own // host.page_bytes)


def members_below(hierarchy: Hierarchy, paths: Iterable[str]) -> set[int]:
    """The pids in these groups and below, from the first hierarchy with any there; none for a group that is gone."""
    found: set[int] = set()
    for path in paths:
        for tree in hierarchy.trees.values():
            here: set[int] = set()
            if tree.exists(path):
                for group in (path, *hierarchy.below(tree, path)):
                    with contextlib.suppress(HoldfastError):  # it went meanwhile, or is threaded
                        here.update(tree.members(group))
            found |= here
            if here:
                break
    return found


def _meminfo(proc_root: str) -> dict[str, int]:
    return parse_meminfo(kernel_text.read(f"{proc_root}/meminfo"))


def parse_meminfo(text: bytes) -> dict[str, int]:
    """``MemTotal`` and the others in KiB; lines of another shape are skipped.

    Raises:
        UnknownKernelText: ``MemTotal`` is missing.
    """
    # MemTotal:       24683516 kB
    found: dict[str, int] = {}
    for line in kernel_text.lines(text):
        name, _, rest = line.partition(b":")
        number, *_ = kernel_text.words(rest) or [b""]
        if number.isdigit():
            found[kernel_text.decode(name)] = int(number)
    if "MemTotal" not in found:
        raise kernel_text.malformed("meminfo")
    return found


def kernel_version() -> tuple[int, int]:
    """Major and minor version of the running kernel, from uname(2)."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(digit for digit in minor if digit.isdigit()) or 0)
