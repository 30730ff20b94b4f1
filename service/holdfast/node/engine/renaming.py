"""Recognises a rule that has another name now and is otherwise as before. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from holdfast.node.apply.action import Action, Amend
from holdfast.node.journal.rows import OverrideRow
from holdfast.node.journal.table import Table
from holdfast.node.rule.ruleset import Rules


def new_names(before: Rules, after: Rules) -> dict[str, str]:
    """Return the new name of each rule that was renamed, by its old name. Its ``reason`` may be another one."""
    gone = [rule.spec for rule in before.rules if after.named(rule.name) is None]
    names: dict[str, str] = {}
    for new in [rule.spec for rule in after.rules if before.named(rule.name) is None] if gone else ():
        old = next((spec for spec in gone if replace(spec, name=new.name, reason=new.reason) == new), None)
        if old is not None:
            names.setdefault(old.name, new.name)
    return names


def renamed_rows(table: Table, names: Mapping[str, str], rules: Rules) -> list[Action]:
    """Return actions that put the rows of renamed rules under their new names."""
    return [
        Amend(row, replace(row, rule=names[row.rule], origin=rules.origin_of(names[row.rule])))
        for row in table.rows()
        if not isinstance(row, OverrideRow) and row.rule in names
    ]
