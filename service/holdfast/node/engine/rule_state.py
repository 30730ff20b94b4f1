"""Keeps the rules in force, those that wait to be set again, and decides what stays in force under them. Pure."""

from __future__ import annotations

from holdfast.node.journal.rows import AdjRow, FileRow, GroupRow, Identity, MoveRow, OverrideRow
from holdfast.node.journal.table import Table
from holdfast.node.model.placement import BY_HAND
from holdfast.node.rule.annotation import BY_ANNOTATION
from holdfast.node.rule.ruleset import Rules


class RuleState:
    """``suspended``: rules that were restored; ``let_go``: restored processes; ``givers``: see `Heritage.first`.

    All three last until rules are set.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rules = Rules()
        self.suspended: set[str] = set()
        self.let_go: set[Identity] = set()
        self.givers: set[Identity] = set()

    def take(self, rules: Rules) -> None:
        """Decide by these rules from now on."""
        self.rules = rules
        self.suspended.clear()
        self.let_go.clear()
        self.givers.clear()

    def all_rules(self) -> set[str]:
        """Return the names of the rules in force, and of those under which something of ours exists."""
        of_rows = {row.rule for row in self.table.rows() if not isinstance(row, OverrideRow)} - {BY_HAND}
        return of_rows | {*self.rules.names, *([BY_ANNOTATION] if self.rules.admitted else [])}

    def is_in_force(self, name: str) -> bool:
        """Whether a rule of that name exists and was not restored since rules were set."""
        return name not in self.suspended and (name == BY_ANNOTATION or self.rules.named(name) is not None)

    def is_unread(self, row: AdjRow | MoveRow | FileRow | GroupRow) -> bool:
        """Whether the row's rule comes from a source that cannot be read now."""
        return (
            bool(row.origin)
            and row.origin in self.rules.unread
            and self.rules.named(row.rule) is None
            and row.rule not in self.suspended
        )

    def stands(self, row: AdjRow | MoveRow) -> bool:
        """Whether the rule that gave a process its inherited value or group still wants that."""
        if row.heir_of is None or row.heir_of in self.let_go or (row.pid, row.start_ticks) in self.let_go:
            return False
        if row.rule == BY_HAND:
            giver = self.table.held(*row.heir_of)
            return giver is not None and giver.override is not None
        if self.is_lent(row):
            return False
        return self.is_in_force(row.rule) or self.is_unread(row)

    def is_lent(self, row: AdjRow | MoveRow) -> bool:
        """Whether a process was born into a group that protects; it leaves that group although the rule stays."""
        rule = self.rules.named(row.rule)
        return isinstance(row, MoveRow) and row.heir_of is not None and rule is not None and rule.lends_group
