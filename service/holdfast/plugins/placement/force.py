"""The rules in force: from a plugin's configuration to the engine, at the start and at each reload."""

from __future__ import annotations

import pwd

from holdfast import log
from holdfast.node.reconcile import Engine
from holdfast.node.rules import Rules, compile_rules
from holdfast.node.schema import PlacementConfig
from holdfast.node.shipped import with_shipped

LOG = log.named(__name__)


class Force:
    """Compiles a configuration's rules and hands them to the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.rules = Rules()
        self.shipped: frozenset[str] = frozenset()

    def apply(self, config: PlacementConfig) -> None:
        """Decide by these rules from now on.

        Raises:
            ConfigError: a rule is bad; the old ones stay in force.
        """
        rules = compile_rules(with_shipped(config), self.uid_of, dry_run=config.dry_run, annotations=config.annotations)
        own = {rule.name for rule in config.rules}
        self.rules, self.shipped = rules, frozenset(name for name in rules.names if name not in own)
        self._engine.set_rules(rules)
        dry = sum(rule.dry_run for rule in rules.rules)
        LOG.info("placement rules in force", rules=len(rules), dry_run=dry, shipped=len(self.shipped))

    def uid_of(self, name: str) -> int | None:
        """The number of a user of this node, None if there is none of that name."""
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            return None
