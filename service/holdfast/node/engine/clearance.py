"""Finds files that no rule sets now, and groups that we made and nothing needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.errors import HoldfastError
from holdfast.node.apply.action import Action, Cleared, Forget, How, Remove, Stuck, Unset
from holdfast.node.engine.rule_state import RuleState
from holdfast.node.journal.rows import FileRow, GroupRow, Row
from holdfast.node.model.process import UNIFIED, HostFacts, PodLookup
from holdfast.node.plan.setting import lines_for
from holdfast.node.rule.annotation import BY_ANNOTATION


class Clearance:
    """Finds these files and groups, and remembers which were reported as impossible to restore now."""

    def __init__(self, rule_state: RuleState, host: HostFacts, pods: PodLookup | None) -> None:
        self._rule_state, self._host, self._pods = rule_state, host, pods
        self._stuck: set[tuple[str, ...]] = set()

    def clear_up(self) -> list[Action]:
        """Return actions for files that no rule sets now, and groups that we made and nothing needs."""
        actions: list[Action] = []
        keep: list[Row] = []
        for row in list(self._rule_state.table.files.values()):
            is_gone = row.path not in self._host.groups
            if is_gone or self._is_stale(row):
                if is_gone or row.give_back or row.rule in self._rule_state.suspended:
                    actions.append(Unset(row))
                else:
                    keep.append(row)
        kept = {path for path in self._rule_state.rules.targets if not self._is_suspended_target(path)}
        kept |= {row.path for row in list(self._rule_state.table.groups.values()) if self._rule_state.is_unread(row)}
        for group in self._rule_state.table.made():
            if any(path == group.path or path.startswith(f"{group.path}/") for path in kept):
                continue
            if group.give_back or group.rule in self._rule_state.suspended:
                actions.append(Remove(group))
            else:
                keep.append(group)
        return [*actions, *([Forget(tuple(keep))] if keep else [])]

    def _is_suspended_target(self, path: str) -> bool:
        return all(
            rule.name in self._rule_state.suspended
            for rule in self._rule_state.rules.rules
            if rule.spec.cgroup is not None and rule.spec.cgroup.path == path
        )

    def _is_stale(self, row: FileRow) -> bool:
        if row.rule in self._rule_state.suspended:
            return True
        if self._rule_state.is_unread(row):
            return False
        pod = self._pods.pod_of({row.hierarchy: row.path}) if self._pods is not None else None
        if pod is not None and not pod.name and self._rule_state.rules.asks_runtime(row.rule):
            return False  # not known yet
        rule = (
            self._rule_state.rules.asked_for(pod)
            if row.rule == BY_ANNOTATION
            else self._rule_state.rules.spec_named(row.rule)
        )
        if rule is None:
            return True
        given = dict(rule.in_place)
        if rule.cgroup is not None and rule.cgroup.path == row.path:
            given |= rule.cgroup.settings
        return row.file not in _files(given, v2=self._host.hierarchies == (UNIFIED,))

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
        return [Forget((row,))]


def _files(settings: Mapping[str, int | str | tuple[str, ...]], *, v2: bool) -> set[str]:
    files: set[str] = set()
    for name, value in settings.items():
        try:
            files.update(file for file, _ in lines_for(name, value, settings, v2=v2))
        except HoldfastError:  # refused by the plan, with its reason
            continue
    return files
