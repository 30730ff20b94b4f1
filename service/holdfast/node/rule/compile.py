"""Compile the rules of a configuration, and refuse a rule that is wrong, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.errors import ConfigError, InvalidArgument
from holdfast.node.model.placement import BY_HAND
from holdfast.node.rule import protection
from holdfast.node.rule.annotation import AdmissionTable
from holdfast.node.rule.clause import UidOf, clauses_of
from holdfast.node.rule.node_group import check_target
from holdfast.node.rule.quantity import Value
from holdfast.node.rule.ruleset import CompiledRule, Rules
from holdfast.node.rule.schema import Admission, OomScoreAdj, Rule
from holdfast.node.rule.setting import check_settings

NAME_BYTES = 255  # NAME_MAX: of one part of a cgroup's path


def compile_rules(
    rules: Iterable[Rule],
    uid_of: UidOf = lambda _: None,
    *,
    dry_run: bool = False,
    annotations: Iterable[Admission] = (),
) -> Rules:
    """Compile rules. ``uid_of`` gives a user's number; ``dry_run`` is for rules without a ``dry_run`` of their own.

    ``annotations`` is the admission table: the annotations that pods may use.

    Raises:
        ConfigError: ``rule "NAME": KEY: what is wrong; what to do``, for the first bad rule.
    """
    compiled: dict[str, CompiledRule] = {}
    for rule in rules:
        if rule.name in compiled:
            raise ConfigError(f'rule "{rule.name}": name: there is a rule of this name already')
        compiled[rule.name] = compile_rule(rule, uid_of, dry_run=dry_run)
    return Rules(compiled.values(), AdmissionTable.of(annotations), dry_run=dry_run)


def compile_rule(rule: Rule, uid_of: UidOf = lambda _: None, *, dry_run: bool = False) -> CompiledRule:
    """Compile one rule.

    Raises:
        ConfigError: as `compile_rules`.
    """
    try:
        return _compile(rule, uid_of, dry_run)
    except InvalidArgument as error:
        raise ConfigError(f'rule "{rule.name}": {error.message}') from None


def _compile(rule: Rule, uid_of: UidOf, dry_run: bool) -> CompiledRule:
    _check_name(rule.name)
    adjustment = _adjustment(rule)
    _check_target(rule)
    _check_settings("cgroup.settings", rule.cgroup.settings if rule.cgroup is not None else {})
    _check_settings("in_place", rule.in_place)
    if rule.cgroup is not None and not rule.limit_node_groups:
        check_target(rule.cgroup.path, rule.cgroup.settings)
    if adjustment is None and rule.cgroup is None and not rule.in_place:
        raise InvalidArgument("it does nothing: give oom_score_adj, cgroup or in_place")
    clauses = clauses_of(rule.match, uid_of, rule.cgroup.path if rule.cgroup else "")
    protection.check(rule)
    return CompiledRule(
        rule,
        clauses,
        adjustment,
        dry_run if rule.dry_run is None else rule.dry_run,
        grounds=protection.grounds_of(rule.match),
    )


def _adjustment(rule: Rule) -> OomScoreAdj | None:
    given = rule.oom_score_adj
    if given is None or isinstance(given, int):
        adjustment = None if given is None else OomScoreAdj(value=given)
    else:
        adjustment = given
        bounds = (given.at_least, given.at_most)
        if given == OomScoreAdj():
            raise InvalidArgument("oom_score_adj: give a number, or one of value, at_least, at_most, children")
        if given.value is not None and bounds != (None, None):
            raise InvalidArgument("oom_score_adj: value cannot stand beside at_least or at_most")
        if given.at_least is not None and given.at_most is not None and given.at_least > given.at_most:
            raise InvalidArgument(f"oom_score_adj: at_least {given.at_least} is above at_most {given.at_most}")
    if adjustment and not rule.unkillable:
        for key in ("value", "at_most", "children"):
            if getattr(adjustment, key) == -1000:
                raise InvalidArgument(
                    f"oom_score_adj.{key}: -1000 hides a process from every OOM; add unkillable: true, or use -999"
                )
    return adjustment


def _check_name(name: str) -> None:
    """Refuse the name of overrides, and characters that do not print: it appears in logs, metrics and responses."""
    if name == BY_HAND:
        raise InvalidArgument(f"name: {name} stands for overrides (`holdfast hold`); take another")
    if not name.isprintable():
        raise InvalidArgument(
            f"name: {name!a} has characters that do not print (a line break, a control): leave them out"
        )


def _check_settings(key: str, settings: Mapping[str, Value]) -> None:
    try:
        check_settings(settings)
    except InvalidArgument as error:
        raise InvalidArgument(f"{key}: {error.message}") from None


def _check_target(rule: Rule) -> None:
    if rule.cgroup is None:
        return
    path = rule.cgroup.path
    parts = path[1:].split("/")
    if not path.startswith("/") or path == "/" or any(part in ("", ".", "..") for part in parts):
        raise InvalidArgument(f'cgroup.path: "{path}" must name a group below the root, as /holdfast/runtime')
    if not path.isprintable() or any(len(part.encode()) > NAME_BYTES for part in parts):
        raise InvalidArgument(
            f"cgroup.path: {path!a} has characters that do not print, or a name above {NAME_BYTES} bytes"
        )
    if rule.in_place:
        raise InvalidArgument("in_place: a rule that moves has its settings under cgroup.settings")
