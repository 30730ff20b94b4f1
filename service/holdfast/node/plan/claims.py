"""Decides which rule sets a file of a group when several want different values there: the first in the rules' order.

Theory
------
Two rules can meet in one group: they name the same ``cgroup.path``, or processes under each are in it (``in_place``).
Without claims, each rescan would write one value and then the other. So each plan *claims* what its rule wants, whether
or not it is there already. An earlier rule takes a claim over. A later rule that wants another value is refused, with
the name of the rule that decides. A dry run decides over other dry runs alone.

A claim lasts for as long as a process is under its rule in that group: a whole rescan that did not renew it ends it.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from holdfast.node.rule.ruleset import CompiledRule


class Place(Struct, frozen=True):
    """The subject of a claim: a file of a group, or one device and key in it (`rule.setting.parts_of`)."""

    hierarchy: str
    group: str
    file: str
    about: str = ""


class Claim(Struct, frozen=True):
    """The rule that claims a place, and the text it wants. ``order`` is the rule's position among all rules."""

    rule: str
    order: float
    text: str
    dry_run: bool = False
    round: int = 0


class Claims:
    """The claims of one engine, or of one preview."""

    def __init__(self, claims: Mapping[Place, Claim] | None = None) -> None:
        self._claims = dict(claims or {})
        self._round = 0

    def copy(self) -> Claims:
        """Return a copy of the present claims, for a plan on another thread."""
        return Claims(self._claims)

    def clear(self) -> None:
        """Forget all claims: the rules are new."""
        self._claims.clear()

    def withdraw(self, rule: str) -> None:
        """Drop the claims of a rule that is not applied for now."""
        self._claims = {place: claim for place, claim in self._claims.items() if claim.rule != rule}

    def end_round(self) -> None:
        """Drop the claims that no plan renewed: every process has a plan."""
        self._claims = {place: claim for place, claim in self._claims.items() if claim.round == self._round}
        self._round += 1

    def by_file(self) -> dict[tuple[str, str, str], dict[str, Claim]]:
        """Return the claims by hierarchy, group and file, and then by the part of the file that they are about."""
        found: dict[tuple[str, str, str], dict[str, Claim]] = {}
        for place, claim in self._claims.items():
            found.setdefault((place.hierarchy, place.group, place.file), {})[place.about] = claim
        return found

    def make(self, rule: CompiledRule, wanted: Mapping[Place, str]) -> Claim | None:
        """Claim every part of a file for ``rule`` and return None.

        If an earlier rule claims another text for a part, nothing is claimed, and that rule's claim is returned.
        """
        standing = [(place, self._claims.get(place)) for place in wanted]
        for place, claim in standing:
            if claim is not None and claim.text != wanted[place] and _decides(claim, rule):
                return claim
        for place, claim in standing:
            if claim is None or _takes_over(claim, rule):
                self._claims[place] = Claim(rule.name, rule.order, wanted[place], rule.dry_run, self._round)
        return None


def _decides(claim: Claim, rule: CompiledRule) -> bool:
    """Whether a claim outranks what ``rule`` wants."""
    if claim.rule == rule.name or (claim.dry_run and not rule.dry_run):
        return False
    return claim.order < rule.order


def _takes_over(claim: Claim, rule: CompiledRule) -> bool:
    """Whether ``rule`` takes a claim: it renews its own, and replaces one that does not outrank it.

    A dry run does not replace a claim of a rule that writes.
    """
    if claim.rule == rule.name:
        return True
    return not _decides(claim, rule) and (claim.dry_run or not rule.dry_run)
