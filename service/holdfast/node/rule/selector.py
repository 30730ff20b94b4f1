"""Kubernetes' label selectors: ``app=db,tier!=web,env in (a,b),!canary``.

Grammar and meaning as documented at https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/:
every requirement must hold; ``!=`` and ``notin`` hold for an object without the key. Values may carry ``*``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from holdfast.errors import InvalidArgument
from holdfast.node.rule.pattern import Pattern, any_holds, compile_pattern

_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<lacking>[^\s,=!()]+)"
    r"|(?P<key>[^\s,=!()]+)(?:\s*(?P<sign>==|=|!=)\s*(?P<value>[^,()]*)"
    r"|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|\Z)"
)


class Requirement(Struct, frozen=True):
    """One condition on one key. Without ``values``: the key must be there (``negated``: must not)."""

    key: str
    values: tuple[Pattern, ...] = ()
    negated: bool = False

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether ``labels`` meet the condition."""
        value = labels.get(self.key)
        if not self.values:
            return (value is None) == self.negated
        return (value is not None and any_holds(self.values, value)) != self.negated


class Selector(Struct, frozen=True):
    """A parsed selector."""

    text: str
    requirements: tuple[Requirement, ...]

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether every requirement is met."""
        return all(requirement.holds(labels) for requirement in self.requirements)


def parse_selector(text: str) -> Selector:
    """Parse a selector.

    Raises:
        InvalidArgument: it is empty or does not follow the grammar; the message quotes from where.
    """
    requirements, at = [], 0
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if not found or found.end() == at:
            raise InvalidArgument(
                f'"{text}" is not a label selector at "{text[at:].strip()}" (key=value,key in (a,b),!key)'
            )
        requirements.append(_requirement(found))
        at = found.end()
    if not requirements or text.rstrip().endswith(","):
        raise InvalidArgument(f'"{text}" is not a label selector: a requirement is missing')
    return Selector(text, tuple(requirements))


def _requirement(found: re.Match[str]) -> Requirement:
    if found["absent"]:
        return Requirement(found["lacking"], negated=True)
    if found["set"]:
        values = tuple(_value(part) for part in found["values"].split(","))
        return Requirement(found["key"], values, negated=found["set"] == "notin")
    if found["sign"]:
        return Requirement(found["key"], (_value(found["value"]),), negated=found["sign"] == "!=")
    return Requirement(found["key"])


def _value(text: str) -> Pattern:
    text = text.strip()
    return compile_pattern(text) if text else Pattern("")
