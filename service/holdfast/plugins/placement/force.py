"""The rules in force: from a plugin's configuration to the engine, at the start and at each reload."""

from __future__ import annotations

import pwd
from typing import Protocol

import msgspec

from holdfast import log
from holdfast.node.engine.engine import Engine
from holdfast.node.rule.builtin import with_builtin
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.ruleset import Rules
from holdfast.node.rule.schema import PlacementConfig, Rule

LOG = log.named(__name__)


class Bundled(Protocol):
    """The rules of the bundle a configuration names."""

    def rules(self, reference: str) -> tuple[Rule, ...]:
        """Those to put in force for what the configuration says of it. Never raises."""

    def confirm(self) -> None:
        """Those last given are in force."""


class NoBundle:
    """Where there are no bundles."""

    def rules(self, reference: str) -> tuple[Rule, ...]:
        """None."""
        return ()

    def confirm(self) -> None:
        """Nothing to remember."""


class Force:
    """Compiles a configuration's rules, and those of the bundle it names, and hands them to the engine."""

    def __init__(self, engine: Engine, bundled: Bundled | None = None) -> None:
        self._engine = engine
        self._bundled = bundled or NoBundle()
        self.rules = Rules()
        self.builtin: frozenset[str] = frozenset()

    def apply(self, config: PlacementConfig) -> None:
        """Decide by these rules from now on.

        Raises:
            ConfigError: a rule is bad; the old ones stay in force.
        """
        config = with_bundled(config, self._bundled.rules(config.bundle))
        rules = compile_rules(with_builtin(config), self.uid_of, dry_run=config.dry_run, annotations=config.annotations)
        own = {rule.name for rule in config.rules}
        self.rules, self.builtin = rules, frozenset(name for name in rules.names if name not in own)
        self._engine.set_rules(rules)
        self._bundled.confirm()
        dry = sum(rule.dry_run for rule in rules.rules)
        LOG.info("placement rules in force", rules=len(rules), dry_run=dry, builtin=len(self.builtin))

    def uid_of(self, name: str) -> int | None:
        """The number of a user of this node, None if there is none of that name."""
        return uid_of(name)


def uid_of(name: str) -> int | None:
    """The number of a user of this node, None if there is none of that name."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # ValueError: a NUL in the name
        return None


def with_bundled(config: PlacementConfig, bundled: tuple[Rule, ...]) -> PlacementConfig:
    """``config`` with a bundle's rules after its own; one of its own replaces the bundle's of its name."""
    own = {rule.name for rule in config.rules}
    return msgspec.structs.replace(config, rules=(*config.rules, *(rule for rule in bundled if rule.name not in own)))
