"""Plans the cgroups of a process: settings, moves, and everything that the kernel or an interlock refuses.

The kernel's refusals are known beforehand where the facts allow it, because a refused write gives only an errno: cpuset
without CPUs (ENOSPC on v1), ``domain invalid`` (EOPNOTSUPP), a v2 group that passes controllers on (EBUSY).
Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html#organizing-processes-and-threads,
https://docs.kernel.org/admin-guide/cgroup-v1/cpusets.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from msgspec.structs import replace

from holdfast.config.quantity import format_bytes
from holdfast.errors import HoldfastError, InvalidArgument, NoEquivalent
from holdfast.node.model.decision import Change, Field, MoveChange, Reason, Refusal, SettingChange
from holdfast.node.model.process import (
    NO_LIMIT,
    UNIFIED,
    GroupFacts,
    HostFacts,
    Process,
    carrier_of,
    with_controllers,
)
from holdfast.node.plan.claims import Claims, Place
from holdfast.node.plan.setting import is_in_force, lines_for, widens
from holdfast.node.rule.node_group import is_node_group
from holdfast.node.rule.node_group import why as why_node_group
from holdfast.node.rule.quantity import Value, size_in_bytes
from holdfast.node.rule.ruleset import CompiledRule
from holdfast.node.rule.schema import CgroupTarget, Rule
from holdfast.node.rule.setting import Setting, controller_of, limits_of, parts_of, stops, stops_processes

Part = tuple[tuple[Change, ...], tuple[Refusal, ...]]
Settings = tuple[tuple[SettingChange, ...], tuple[Refusal, ...]]

_NO_TREE = Refusal(
    Reason.NO_CONTROLLER, Field.CGROUP, "this daemon has no cgroup tree to write to: mount the host's /sys/fs/cgroup"
)


def plan_move(process: Process, rule: CompiledRule, host: HostFacts, claims: Claims) -> Part:
    """Return settings of the target, then the moves into it, by hierarchy."""
    target = rule.spec.cgroup
    if target is None:
        return (), ()
    if not host.hierarchies:
        return (), (_NO_TREE,)
    hierarchies, refused = _hierarchies(target.controllers, host.hierarchies, host.controllers)
    outside: dict[str, str] = {}
    lost: dict[str, str] = {}
    for name in hierarchies:
        before = process.cgroups.get(name, "/")
        if _is_outside(process, before, target.path):
            outside[name], lost[name] = before, limits_left(before, target.path, name, host)
    group = host.groups.get(target.path)
    standing = [*_in_the_way(process, rule.spec, host, group, outside, lost)] if outside else ()
    if standing:
        return (), (*refused, *standing)
    create = group is None
    changes: list[Change] = []
    if target.settings:
        settings, unsaid = _settings(rule, target.settings, dict.fromkeys(hierarchies, target.path), host, claims)
        changes += [replace(change, create=create) for change in settings]
        refused += unsaid
    for name, before in outside.items():
        changes.append(MoveChange(before, target.path, hierarchy=name, create=create, lost=lost[name]))
    return tuple(changes), refused


def plan_in_place(process: Process, rule: CompiledRule, host: HostFacts, claims: Claims) -> Part:
    """Return settings of the cgroup that the process is in; the process stays there."""
    if not rule.spec.in_place:
        return (), ()
    if not host.hierarchies:
        return (), (replace(_NO_TREE, field=Field.SETTING),)
    return _settings(rule, rule.spec.in_place, process.cgroups, host, claims)


def raises_a_limit(process: Process, rule: CompiledRule, host: HostFacts) -> bool:
    """Whether a setting in place would leave the process's group less limited than it is."""
    given = rule.spec.in_place
    for name, value in given.items():
        try:
            lines = lines_for(name, value, given, v2=host.is_v2)
        except HoldfastError:  # refused by the plan, with its reason
            continue
        for file, text in lines:
            place = _place_of(file, process.cgroups, host)
            if isinstance(place, Refusal):
                continue
            group = host.groups.get(place.group)
            if widens(file, text, group.values.get(file) if group is not None else None):
                return True
    return False


@lru_cache(maxsize=64)  # a machine has the same hierarchies for every decision
def _hierarchies(
    controllers: tuple[str, ...], mounted: tuple[str, ...], unified: frozenset[str]
) -> tuple[tuple[str, ...], tuple[Refusal, ...]]:
    """Return the hierarchies to move in: v2's one tree; on v1 those of the named controllers, or all that carry any.

    ``mounted``: all hierarchies of the machine; ``unified``: the controllers of the unified one.
    """
    v1 = with_controllers(mounted)
    if not v1:
        return (UNIFIED,), ()
    if not controllers:
        return v1, ()
    found, missing = [], []
    for controller in controllers:
        name = carrier_of(controller, mounted, unified)
        if name is None:
            missing.append(controller)
        elif name not in found:
            found.append(name)
    refusals = tuple(
        Refusal(
            Reason.NO_CONTROLLER,
            Field.CGROUP,
            f"no hierarchy has the controller {controller} here, only {', '.join(filter(None, mounted))}",
        )
        for controller in missing
    )
    return tuple(found), refusals


def _is_outside(process: Process, now: str, path: str) -> bool:
    """Whether a process in the group ``now`` is outside the target.

    A container that was created in the target has a group of its own there, which is removed with the container.
    """
    own = process.pod.container_id if process.pod is not None else ""
    return now != path and not (own and now == f"{path}/{own}")


def _in_the_way(
    process: Process,
    rule: Rule,
    host: HostFacts,
    group: GroupFacts | None,
    outside: Mapping[str, str],
    lost: Mapping[str, str],
) -> Iterator[Refusal]:
    """Yield the refusals that forbid the move as a whole; ``group``: the target, None if it does not exist."""
    target = rule.cgroup
    if target is None:
        return
    left = next((before for before in outside.values() if _leaves_a_pod(process, before, target.path)), None)
    if left is not None and not rule.leave_kubepods:
        yield Refusal(
            Reason.LEAVE_KUBEPODS,
            Field.CGROUP,
            f"it would leave {left}, and with it the pod's limits and accounting; leave_kubepods: true on the rule "
            "lifts this, in_place settings need no move",
        )
    elif left is None and not rule.leave_limits and any(lost.values()):
        limits = "; ".join(dict.fromkeys(filter(None, lost.values())))
        yield Refusal(
            Reason.LEAVE_LIMITS,
            Field.CGROUP,
            f"it would leave {limits}; leave_limits: true on the rule lifts this, a path below that group or in_place "
            "settings keep them",
        )
    if too_small := _too_small(process, rule, host, group):
        yield too_small
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


def limits_left(before: str, after: str, hierarchy: str, host: HostFacts) -> str:
    """Return the limits that a move in one hierarchy removes: ``memory.max 512Mi, pids.max 100 of /a; …``.

    These are the limits of the process's group and of every group above it that does not contain the target as well.
    """
    if before == "/":
        return ""
    controllers = host.controllers if hierarchy == UNIFIED else hierarchy.split(",")
    files = limits_of(controllers, v2=hierarchy == UNIFIED)
    left = []
    for group in line_up(before):
        if after == group or after.startswith(f"{group}/"):
            break
        facts = host.groups.get(group)
        found = [said for row in files if facts is not None and (said := _limit_said(row, facts, host))]
        if found:
            left.append(f"{', '.join(found)} of {group}")
    return "; ".join(left)


def line_up(path: str) -> Iterator[str]:
    """Yield a path and those above it: ``/a/b`` → ``/a/b``, ``/a``."""
    while path not in ("", "/"):
        yield path
        path = path.rpartition("/")[0]


def _limit_said(row: Setting, facts: GroupFacts, host: HostFacts) -> str:
    """Return a limit as ``memory.max 512Mi``; empty without a limit."""
    text = facts.values.get(row.file)
    if text is None or row.kind.unlimited is None or row.kind.unlimited(text):
        return ""
    if controller_of(row.file) == "cpuset" and not host.is_v2:  # on v1 every group has a list
        root = host.groups.get("/")
        if root is None or root.values.get(row.file) == text:
            return ""
    shown = format_bytes(int(text)) if row.kind.is_size and text.isdecimal() else " ".join(text.split())
    return f"{row.file} {shown}"


def _too_small(process: Process, rule: Rule, host: HostFacts, group: GroupFacts | None) -> Refusal | None:
    target = rule.cgroup
    if target is None or rule.allow_small_limit:
        return None
    limit = _limit_to_be(target.settings, group)
    if limit is None:
        return None
    uses = (process.rss_pages + process.page_table_pages) * host.page_bytes
    if uses <= limit:
        return None
    return Refusal(
        Reason.MEMORY_LIMIT,
        Field.CGROUP,
        f"it uses {_mib(uses)} and {target.path} allows {_mib(limit)}: raise it, or allow_small_limit: true",
    )


def _limit_to_be(settings: Mapping[str, Value], group: GroupFacts | None) -> int | None:
    """Return the target's memory limit in bytes once its settings are in force; None without one."""
    for name in ("memory.max", "memory.limit_in_bytes") if settings else ():
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


def _settings(
    rule: CompiledRule, settings: Mapping[str, Value], paths: Mapping[str, str], host: HostFacts, claims: Claims
) -> Settings:
    """Return the writes for settings of groups; ``paths``: the groups by hierarchy."""
    changes: list[SettingChange] = []
    refusals: list[Refusal] = []
    ours: dict[Place, str] = {}
    for name, value in settings.items():
        try:
            lines = lines_for(name, value, settings, v2=host.is_v2)
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
            place = _place_of(file, paths, host)
            if isinstance(place, Refusal):
                refusals.append(place)
            elif not rule.spec.limit_node_groups and stops(file, text) and is_node_group(place.group):
                refusals.append(_refused(Reason.NODE_GROUP, f"{file}: {why_node_group(place.group)}"))
            elif refusal := _taken(rule, place, text, ours, claims):
                refusals.append(refusal)
            elif change := _setting(place, text, host):
                changes.append(change)
    return tuple(changes), tuple(refusals)


def _place_of(file: str, paths: Mapping[str, str], host: HostFacts) -> Place | Refusal:
    controller = controller_of(file)
    hierarchy = host.hierarchy_of(controller) if controller else UNIFIED
    if hierarchy is None:
        return _refused(Reason.NO_CONTROLLER, f"{file}: this host has no controller {controller}: it is off")
    if hierarchy not in paths:
        return _refused(
            Reason.NO_CONTROLLER, f"{file}: the rule does not move in the hierarchy of {controller}: add it"
        )
    path = paths[hierarchy]
    if path == "/":
        return _refused(Reason.ROOT_GROUP, f"{file}: the process is in the root group, which has no limits: move it")
    own = host.own_groups.get(hierarchy, "/")
    if stops_processes(file) and (own == path or own.startswith(f"{path}/")):
        return _refused(Reason.SELF, f"{file}: holdfast itself is in {own}, which it would stop or limit as well")
    return Place(hierarchy, path, file)


def _taken(rule: CompiledRule, place: Place, text: str, ours: dict[Place, str], claims: Claims) -> Refusal | None:
    """Return a refusal if another rule decides this file, or another key of this rule sets it."""
    wanted = {replace(place, about=about): part for about, part in parts_of(place.file, text).items()}
    if any(ours.setdefault(part, said) != said for part, said in wanted.items()):
        return _refused(
            Reason.CONFLICT, f"{place.file} of {place.group}: two settings of this rule name it; leave one out"
        )
    claim = claims.make(rule, wanted)
    if claim is None:
        return None
    return _refused(
        Reason.CONFLICT,
        f'{place.file} of {place.group}: rule "{claim.rule}" stands before this one and wants {claim.text}: give both '
        "rules one value, or take it out of one",
    )


def _setting(place: Place, text: str, host: HostFacts) -> SettingChange | None:
    group = host.groups.get(place.group)
    now = group.values.get(place.file) if group else None
    if is_in_force(place.file, text, now, host.page_bytes):
        return None
    return SettingChange(now, text, place.group, place.file, place.hierarchy)


def _refused(reason: Reason, detail: str) -> Refusal:
    return Refusal(reason, Field.SETTING, detail)
