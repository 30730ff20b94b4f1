"""Finds files that no rule sets now, and groups that we made and nothing needs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from holdfast.errors import HoldfastError
from holdfast.node.apply.action import Action, Amend, Cleared, Forget, How, Remove, Stuck, Unset
from holdfast.node.engine.rule_state import RuleState
from holdfast.node.journal.rows import FileRow, GroupRow, Row
from holdfast.node.model.process import UNIFIED, HostFacts, PodFacts, PodLookup
from holdfast.node.plan.claims import Claim, Claims
from holdfast.node.plan.setting import lines_for
from holdfast.node.rule.annotation import BY_ANNOTATION
from holdfast.node.rule.setting import parts_of, text_of_parts


class Clearance:
    """Finds these files and groups, and remembers which were reported as impossible to restore now.

    A file or group that another rule needs as well comes under that rule. A rule that stays may restore on its removal
    from now on, or no longer.
    """

    def __init__(self, rule_state: RuleState, claims: Claims, host: HostFacts, pods: PodLookup | None) -> None:
        self._rule_state, self._claims, self._host, self._pods = rule_state, claims, host, pods
        self._stuck: set[tuple[str, ...]] = set()

    def clear_up(self) -> list[Action]:
        """Return actions for files that no rule sets now, and groups that we made and nothing needs."""
        actions: list[Action] = []
        claims = self._claims.by_file() if self._rule_state.table.files else {}
        for file in reversed(list(self._rule_state.table.files.values())):  # a limit may depend on an earlier one
            actions += self._clear_file(file, claims.get((file.hierarchy, file.path, file.file), {}))
        kept = {row.path for row in list(self._rule_state.table.groups.values()) if self._rule_state.is_unread(row)}
        for group in self._rule_state.table.made():
            if any(path == group.path or path.startswith(f"{group.path}/") for path in kept):
                continue
            rule = self._rule_with_target(group)
            if rule is not None:
                actions += self._under(group, rule)
            elif group.give_back or group.rule in self._rule_state.suspended:
                actions.append(Remove(group))
            else:
                actions.append(Forget((group,)))
        return actions

    def _clear_file(self, row: FileRow, claims: Mapping[str, Claim]) -> list[Action]:
        if row.path not in self._host.groups:
            return [Unset(row)]
        is_suspended = row.rule in self._rule_state.suspended
        if not is_suspended and (self._rule_state.is_unread(row) or self._waits_for_pod(row)):
            return []
        claimed = self._writers(claims)
        wanted = {} if is_suspended else self._set_by_rule(row)
        parts = {**parts_of(row.file, row.written or ""), **parts_of(row.file, row.wanted or "")}
        stale = tuple(about for about in parts if about not in wanted and about not in claimed)
        if len(stale) == len(parts):
            return [Unset(row)] if row.give_back or is_suspended else [Forget((row,))]
        names = claimed.values()
        rule = row.rule if wanted or row.rule in names else next(iter(names))
        if stale and (row.give_back or is_suspended):
            return [Unset(row, stale)]
        return self._under(row, rule)

    def _under(self, row: FileRow | GroupRow, rule: str) -> list[Action]:
        """Put a row under a rule in force, on that rule's present terms."""
        spec = self._rule_state.rules.spec_named(rule)
        if spec is None:  # asked for by a pod's annotations
            return []
        give_back, origin = spec.on_remove == "restore", self._rule_state.rules.origin_of(rule)
        after = replace(row, rule=rule, give_back=give_back, origin=origin)
        return [Amend(row, after)] if after != row else []

    def _writers(self, claims: Mapping[str, Claim]) -> dict[str, str]:
        """Return the rules that write parts of a file now, by part."""
        suspended = self._rule_state.suspended
        return {
            about: claim.rule for about, claim in claims.items() if not claim.dry_run and claim.rule not in suspended
        }

    def _rule_with_target(self, group: GroupRow) -> str | None:
        """Return a rule whose target is the group or below it, the group's own one first; None: no rule."""
        names = [
            rule.name
            for rule in self._rule_state.rules.rules
            if rule.name not in self._rule_state.suspended
            and rule.spec.cgroup is not None
            and (rule.spec.cgroup.path == group.path or rule.spec.cgroup.path.startswith(f"{group.path}/"))
        ]
        return group.rule if group.rule in names else names[0] if names else None

    def _waits_for_pod(self, row: FileRow) -> bool:
        """Whether the rule asks about a pod that is not known yet."""
        pod = self._pod_of(row)
        return pod is not None and not pod.name and self._rule_state.rules.asks_runtime(row.rule)

    def _pod_of(self, row: FileRow) -> PodFacts | None:
        return self._pods.pod_of({row.hierarchy: row.path}) if self._pods is not None else None

    def _set_by_rule(self, row: FileRow) -> dict[str, str]:
        """Return the parts of the file that the row's rule sets; empty if it no longer sets anything of it."""
        rules = self._rule_state.rules
        rule = rules.asked_for(self._pod_of(row)) if row.rule == BY_ANNOTATION else rules.spec_named(row.rule)
        if rule is None:
            return {}
        given = dict(rule.in_place)
        if rule.cgroup is not None and rule.cgroup.path == row.path:
            given |= rule.cgroup.settings
        text = _texts(given, v2=self._host.hierarchies == (UNIFIED,)).get(row.file)
        return dict(parts_of(row.file, text)) if text is not None else {}

    def cleared(self, result: Cleared) -> list[Action]:
        """Return the actions that follow from the result of a restore or a removal."""
        row = result.action.row
        if result.how is How.REFUSED:
            if row.key in self._stuck:
                return []
            self._stuck.add(row.key)
            what = f"{row.path} {row.file}" if isinstance(row, FileRow) else row.path
            return [Stuck(what, row.rule, result.detail)]
        if result.how is How.LEFT and isinstance(row, GroupRow):
            return []  # something is in it
        self._stuck.discard(row.key)
        if isinstance(result.action, Unset) and result.action.parts is not None and result.how is not How.GONE:
            return [Amend(result.action.row, _without(result.action.row, result.action.parts))]
        return [Forget((self._present(row),))]

    def _present(self, row: FileRow | GroupRow) -> Row:
        """Return the row of a group as it is now: it may have taken over needs of another group."""
        now = self._rule_state.table.get(row)
        return now if isinstance(now, GroupRow) and isinstance(row, GroupRow) and now.inode == row.inode else row


def _without(row: FileRow, parts: Collection[str]) -> FileRow:
    """Return a row after these parts of its file were restored."""
    said = {**parts_of(row.file, row.written or ""), **parts_of(row.file, row.wanted or "")}
    left = {about: text for about, text in said.items() if about not in parts}
    return replace(row, written=text_of_parts(row.file, left), wanted=None)


def _texts(settings: Mapping[str, int | str | tuple[str, ...]], *, v2: bool) -> dict[str, str]:
    """Return the text to write by file."""
    texts: dict[str, str] = {}
    for name, value in settings.items():
        try:
            for file, text in lines_for(name, value, settings, v2=v2):
                texts[file] = f"{texts[file]}\n{text}" if file in texts else text
        except HoldfastError:  # refused by the plan, with its reason
            continue
    return texts
