"""Finds the files of a process that the rules ask about: a file that no rule asks about is not read at an exec."""

from __future__ import annotations

from holdfast.node.model.process import Wants
from holdfast.node.rule.annotation import BY_ANNOTATION
from holdfast.node.rule.ruleset import Rules
from holdfast.node.rule.schema import Rule


def wants_of(rules: Rules) -> Wants:
    """Return the files that the rules ask about; rules about descendants may ask about any."""
    keys = {clause.key for rule in rules.rules for clause in rule.clauses}
    families = any(rule.spec.match.descendants for rule in rules.rules)
    return Wants(
        groups=rules.asks_groups or bool(rules.targets) or any(_asks_place(rule.spec) for rule in rules.rules),
        exe=families or bool({"match.exe", "match.leader"} & keys) or rules.may_hold_children_of(BY_ANNOTATION),
        cmdline=families or "match.cmdline" in keys,
        status=families or "match.user" in keys,
    )


def _asks_place(rule: Rule) -> bool:
    return rule.match.pod is not None or rule.match.descendants or bool(rule.in_place)
