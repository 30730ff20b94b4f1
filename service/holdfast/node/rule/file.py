"""Rules from a separate text: one that ``preview --rules`` sends (a built-in file, an import), or a file of a bundle.

The text is a list of rules, a section of the placement plugin, or a whole configuration that contains such a section.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from holdfast.config.decode import decode
from holdfast.config.document import Node, Path, Source
from holdfast.config.section import placed_in
from holdfast.config.yamldoc import read_yaml
from holdfast.errors import ConfigError
from holdfast.node.rule.check import faults_of
from holdfast.node.rule.schema import INTERLOCKS, PlacementConfig, Rule

URI = "io.holdfast.placement.v1.rules"
BUNDLES_URI = "io.holdfast.bundle.v1.bundles"


def read_rules(text: str, name: str) -> PlacementConfig:
    """Parse ``text``; messages call it ``name``. A bare list uses no built-in rules.

    Raises:
        ConfigError: ``NAME:LINE: rules[0].match.comm: what is wrong``.
    """
    node = read_yaml(text, Source(name)) or Node({}, Source(name))
    if isinstance(node.value, list):
        bare: dict[str, Node] = {"rules": node, "builtin_rules": Node("none", node.source, node.line)}
        node = Node(bare, node.source, node.line)
    above: Path = ("plugins", URI)
    section = node.at(above)
    if section is None:
        section, above = node, ()
    config = decode(section, PlacementConfig, above)
    placed_in(section, above, faults_of(config))
    return config


def read_bundle(texts: Iterable[tuple[str, str]], lifts: Collection[str] = INTERLOCKS) -> tuple[Rule, ...]:
    """The rules of a bundle's files (name and text), in order. A file has only rules: settings belong to the node.

    ``lifts`` are the interlocks that the node lets a bundle lift.

    Raises:
        ConfigError: ``NAME:LINE: …``, or ``NAME: …`` for a rule of another file's name or one the node does not allow.
    """
    rules: dict[str, Rule] = {}
    for name, text in texts:
        config = read_rules(text, name)
        if msgspec.structs.replace(config, rules=(), builtin_rules="none") != PlacementConfig(builtin_rules="none"):
            raise ConfigError(f"{name}: a bundle has rules alone; other settings stand in the node's configuration")
        for rule in config.rules:
            if rule.name in rules:
                raise ConfigError(f'{name}: rule "{rule.name}": name: there is a rule of this name already')
            _check_lifts(f'{name}: rule "{rule.name}"', rule, lifts)
            rules[rule.name] = rule
    return tuple(rules.values())


def _check_lifts(location: str, rule: Rule, lifts: Collection[str]) -> None:
    """Refuse a rule that sets a key reserved for the node's own configuration."""
    if rule.dry_run is False:
        raise ConfigError(
            f"{location}: dry_run: false: whether a bundle's rules write is the node's configuration's word; "
            "leave it out"
        )
    for key in INTERLOCKS:
        if getattr(rule, key) and key not in lifts:
            raise ConfigError(
                f"{location}: {key}: this node does not let a bundle lift it: add {key} to lifts of "
                f'plugins."{BUNDLES_URI}", or put the rule into the node\'s configuration'
            )
