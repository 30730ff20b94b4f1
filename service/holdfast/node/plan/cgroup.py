"""The part of a plan that is about cgroups: settings, moves, and everything the kernel or good sense refuses.

The kernel's refusals are known beforehand where the facts allow it, because a refused write says only an errno:
cpuset without CPUs (ENOSPC on v1), ``domain invalid`` (EOPNOTSUPP), a v2 group that passes controllers on (EBUSY).
Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html#organizing-processes-and-threads,
https://docs.kernel.org/admin-guide/cgroup-v1/cpusets.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from holdfast.errors import InvalidArgument, NoEquivalent
from holdfast.node.model.decision import Change, Field, Reason, Refusal
from holdfast.node.model.process import NO_LIMIT, UNIFIED, GroupFacts, HostFacts, Process
from holdfast.node.plan.setting import is_in_force, lines_for
from holdfast.node.rule.quantity import Value, size_in_bytes
from holdfast.node.rule.schema import CgroupTarget, Rule
from holdfast.node.rule.setting import controller_of

Part = tuple[tuple[Change, ...], tuple[Refusal, ...]]

_NO_TREE = Refusal(
    Reason.NO_CONTROLLER, Field.CGROUP, "this daemon has no cgroup tree to write to: mount the host's /sys/fs/cgroup"
)


def plan_move(process: Process, rule: Rule, host: HostFacts) -> Part:
    """Settings of the target, then the moves into it, by hierarchy."""
    target = rule.cgroup
    if target is None:
        return (), ()
    if not host.hierarchies:
        return (), (_NO_TREE,)
    hierarchies, refused = _hierarchies(target, host)
    outside = {name: process.cgroups.get(name, "/") for name in hierarchies if _is_outside(process, name, target.path)}
    standing = tuple(_in_the_way(process, rule, host, outside)) if outside else ()
    if standing:
        return (), refused + standing
    create = target.path not in host.groups
    settings, unsaid = _settings(target.settings, dict.fromkeys(hierarchies, target.path), host)
    settings = tuple(replace(change, create=create) for change in settings)
    moves = tuple(
        Change(Field.CGROUP, before, target.path, hierarchy=name, group=target.path, create=create)
        for name, before in outside.items()
    )
    return settings + moves, refused + unsaid


def plan_in_place(process: Process, rule: Rule, host: HostFacts) -> Part:
    """Settings of the cgroup the process is in, which stays where it is."""
    if not rule.in_place:
        return (), ()
    if not host.hierarchies:
        return (), (replace(_NO_TREE, field=Field.SETTING),)
    return _settings(rule.in_place, process.cgroups, host)


def _hierarchies(target: CgroupTarget, host: HostFacts) -> tuple[tuple[str, ...], tuple[Refusal, ...]]:
    """Where to move: v2's one tree; on v1 the named controllers' hierarchies, or all that carry any."""
    if host.is_v2:
        return (UNIFIED,), ()
    if not target.controllers:
        return host.v1_hierarchies, ()
    found, missing = [], []
    for controller in target.controllers:
        name = host.hierarchy_of(controller)
        if name is None:
            missing.append(controller)
        elif name not in found:
            found.append(name)
    refusals = tuple(
        Refusal(
            Reason.NO_CONTROLLER,
            Field.CGROUP,
            f"no hierarchy has the controller {controller} here, only {', '.join(filter(None, host.hierarchies))}",
        )
        for controller in missing
    )
    return tuple(found), refusals


def _is_outside(process: Process, hierarchy: str, path: str) -> bool:
    """A container that was created in the target has a group of its own there, which goes when it does."""
    now = process.cgroups.get(hierarchy, "/")
    own = process.pod.container_id if process.pod is not None else ""
    return now != path and not (own and now == f"{path}/{own}")


def _in_the_way(process: Process, rule: Rule, host: HostFacts, outside: Mapping[str, str]) -> Iterator[Refusal]:
    """What forbids the move as a whole."""
    target = rule.cgroup
    if target is None or not outside:
        return
    left = next((before for before in outside.values() if _leaves_a_pod(process, before, target.path)), None)
    if left is not None and not rule.leave_kubepods:
        yield Refusal(
            Reason.LEAVE_KUBEPODS,
            Field.CGROUP,
            f"it would leave {left}, and with it the pod's limits and accounting; leave_kubepods: true on the rule "
            "lifts this, in_place settings need no move",
        )
    group = host.groups.get(target.path)
    yield from _too_small(process, rule, host, group)
    if group is None:
        return
    if group.frozen and not rule.allow_frozen:
        yield Refusal(
            Reason.FROZEN,
            Field.CGROUP,
            f"{target.path} is frozen and it would stop there; allow_frozen: true lifts this",
        )
    if group.type == "domain invalid":
        yield Refusal(
            Reason.THREADED,
            Field.CGROUP,
            f"{target.path} is domain invalid, below a threaded group, and takes no process: choose another path",
        )
    if host.is_v2 and group.subtree_control:
        yield Refusal(
            Reason.INTERNAL_PROCESS,
            Field.CGROUP,
            f"{target.path} passes {', '.join(sorted(group.subtree_control))} to its children and so takes no process "
            f"itself: choose a group below it",
        )
    if not host.is_v2:
        yield from _empty_cpuset(target, group, outside)


def _leaves_a_pod(process: Process, before: str, after: str) -> bool:
    in_pod = "kubepods" in before and (process.pod is not None or "/pod" in before or "-pod" in before)
    return in_pod and not after.startswith(before + "/")


def _too_small(process: Process, rule: Rule, host: HostFacts, group: GroupFacts | None) -> Iterator[Refusal]:
    target = rule.cgroup
    if target is None or rule.allow_small_limit:
        return
    limit = _limit_to_be(target.settings, host, group)
    uses = (process.rss_pages + process.page_table_pages) * host.page_bytes
    if limit is not None and uses > limit:
        yield Refusal(
            Reason.MEMORY_LIMIT,
            Field.CGROUP,
            f"it uses {_mib(uses)} and {target.path} allows {_mib(limit)}: raise it, or allow_small_limit: true",
        )


def _limit_to_be(settings: Mapping[str, Value], host: HostFacts, group: GroupFacts | None) -> int | None:
    """The target's memory limit in bytes once its settings are in force; None without one."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        if name in settings:
            try:
                return size_in_bytes(settings[name])
            except InvalidArgument:
                return None  # reported by the setting itself
    return None if group is None or group.memory_limit == NO_LIMIT else group.memory_limit


def _mib(size: int) -> str:
    return f"{size / 1048576:.1f} MiB"


def _empty_cpuset(target: CgroupTarget, group: GroupFacts, outside: Mapping[str, str]) -> Iterator[Refusal]:
    if not any("cpuset" in name.split(",") for name in outside):
        return
    for file, now in (("cpuset.cpus", group.cpus), ("cpuset.mems", group.mems)):
        if now == "" and file not in target.settings:
            yield Refusal(
                Reason.CPUSET,
                Field.CGROUP,
                f"{file} of {target.path} is empty, so nothing may run there: add it to settings",
            )


def _settings(given: Mapping[str, Value], paths: Mapping[str, str], host: HostFacts) -> Part:
    """What to write for settings of groups, ``paths`` by hierarchy."""
    changes: list[Change] = []
    refusals: list[Refusal] = []
    for name, value in given.items():
        try:
            lines = lines_for(name, value, given, v2=host.is_v2)
        except NoEquivalent as error:
            version = "v2" if host.is_v2 else "v1"
            refusals.append(
                _refused(Reason.NO_EQUIVALENT, f"{name} has no equal on this cgroup {version} host: {error}")
            )
            continue
        except InvalidArgument as error:
            refusals.append(_refused(Reason.BAD_VALUE, f"{name}: {error.message}"))
            continue
        for file, text in lines:
            change = _setting(file, text, paths, host)
            if isinstance(change, Refusal):
                refusals.append(change)
            elif change is not None:
                changes.append(change)
    return tuple(changes), tuple(refusals)


def _setting(file: str, text: str, paths: Mapping[str, str], host: HostFacts) -> Change | Refusal | None:
    controller = controller_of(file)
    hierarchy = host.hierarchy_of(controller) if controller else UNIFIED
    if hierarchy is None:
        return _refused(Reason.NO_CONTROLLER, f"{file}: this host has no controller {controller} (off, or misspelt)")
    if hierarchy not in paths:
        return _refused(
            Reason.NO_CONTROLLER, f"{file}: the rule does not move in the hierarchy of {controller}: add it"
        )
    path = paths[hierarchy]
    if path == "/":
        return _refused(Reason.ROOT_GROUP, f"{file}: the process is in the root group, which has no limits: move it")
    group = host.groups.get(path)
    now = group.values.get(file) if group else None
    if is_in_force(file, text, now, host.page_bytes):
        return None
    return Change(Field.SETTING, now, text, hierarchy=hierarchy, group=path, file=file)


def _refused(reason: Reason, detail: str) -> Refusal:
    return Refusal(reason, Field.SETTING, detail)
