"""The rules in force: from a plugin's configuration to the engine, at the start and at each reload."""

from __future__ import annotations

import pwd
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Protocol

import msgspec

from holdfast import log
from holdfast.errors import Unavailable
from holdfast.node.engine.engine import Engine
from holdfast.node.rule.builtin import with_builtin
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.ruleset import Rules
from holdfast.node.rule.schema import PlacementConfig, Rule

LOG = log.named(__name__)
BUNDLE = "bundle"  # where a rule comes from, beside the configuration itself
SET_S = 10.0  # for the engine to take rules: a turn takes milliseconds


class Bundled(Protocol):
    """The rules of the bundle a configuration names."""

    def rules(self, reference: str) -> tuple[Rule, ...]:
        """Return the rules to put in force for ``reference``, the configuration's ``bundle``. Never raises."""

    def confirm(self) -> None:
        """Record that the rules returned last are in force."""

    @property
    def is_unread(self) -> bool:
        """Whether a bundle is named and none of its rules could be read since the start: they are unknown."""


class ActiveRules:
    """Compiles a configuration's rules, and those of the bundle it names, and hands them to the engine."""

    def __init__(self, engine: Engine, bundled: Bundled) -> None:
        self._engine = engine
        self._bundled = bundled
        self.rules = Rules()
        self._is_set = False
        self.builtin: frozenset[str] = frozenset()
        self.changed_otherwise: Callable[[], object] = tuple  # called when values were restored: a reload starts again

    def apply(self, config: PlacementConfig) -> None:
        """Put these rules in force; they are in force when it returns.

        Raises:
            ConfigError: a rule is bad; the old ones stay in force.
            Unavailable: the engine has ended, or does not answer.
        """
        own = {rule.name for rule in config.rules}
        config = with_bundled(config, self._bundled.rules(config.bundle))
        written, dry_run = with_builtin(config), config.dry_run or config.force_dry_run
        if config.force_dry_run:
            written = tuple(msgspec.structs.replace(rule, dry_run=True) for rule in written)
        rules = compile_rules(written, self.uid_of, dry_run=dry_run, annotations=config.annotations)
        bundled = {rule.name for rule in config.rules} - own
        rules.sourced(dict.fromkeys(bundled, BUNDLE), (BUNDLE,) if self._bundled.is_unread else ())
        taken = self._engine.set_rules(rules)
        try:
            taken.result(SET_S)
        except TimeoutError:
            self._withdraw(taken)
        change = _change(self.rules, rules) if self._is_set else ""
        self._is_set = True
        own = {rule.name for rule in config.rules}
        self.rules, self.builtin = rules, frozenset(name for name in rules.names if name not in own)
        self._bundled.confirm()
        dry = sum(rule.dry_run for rule in rules.rules)
        LOG.info(
            "placement rules in force", rules=len(rules), dry_run=dry, builtin=len(self.builtin),
            **({"change": change} if change else {}),
        )  # fmt: skip

    def _withdraw(self, taken: Future[None]) -> None:
        """Withdraw rules, or the engine would take them when it goes on, though they were refused.

        It may be taking them at this moment: then they are in force when it is done.

        Raises:
            Unavailable: they were withdrawn, or the engine hangs.
        """
        if not taken.cancel():
            with suppress(TimeoutError):
                return taken.result(SET_S)
        raise Unavailable(f"the placement engine has not taken the rules within {SET_S:g} s")

    def uid_of(self, name: str) -> int | None:
        """Return the number of a user of this node; None if no user has that name."""
        return uid_of(name)


def uid_of(name: str) -> int | None:
    """Return the number of a user of this node; None if no user has that name."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # ValueError: a NUL in the name
        return None


def _change(old: Rules, new: Rules) -> str:
    """Return ``+1 ~2 −0``: the numbers of rules added, changed and removed."""
    before, after = ({rule.name: (rule.spec, rule.dry_run) for rule in rules.rules} for rules in (old, new))
    changed = sum(before[name] != after[name] for name in before.keys() & after.keys())
    return f"+{len(after.keys() - before.keys())} ~{changed} \u2212{len(before.keys() - after.keys())}"


def with_bundled(config: PlacementConfig, bundled: tuple[Rule, ...]) -> PlacementConfig:
    """Return ``config`` with a bundle's rules after its own; its own rule replaces a bundle's rule of the same name."""
    own = {rule.name for rule in config.rules}
    return msgspec.structs.replace(config, rules=(*config.rules, *(rule for rule in bundled if rule.name not in own)))
