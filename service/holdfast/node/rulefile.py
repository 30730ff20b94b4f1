"""Rules from a text of their own: what ``preview --rules`` sends, what ships, what an import wrote.

The text is a list of rules, or a section of the placement plugin, or a whole configuration with one in it.
"""

from __future__ import annotations

from holdfast.config.decode import decode
from holdfast.config.node import Node, Source
from holdfast.config.yamldoc import read_yaml
from holdfast.node.schema import PlacementConfig

URI = "io.holdfast.placement.v1.rules"


def read_rules(text: str, name: str) -> PlacementConfig:
    """Understand ``text``; ``name`` stands for it in messages. A bare list ships nothing beside itself.

    Raises:
        ConfigError: ``NAME:LINE: rules[0].match.comm: what is wrong``.
    """
    node = read_yaml(text, Source(name)) or Node({}, Source(name))
    if isinstance(node.value, list):
        bare: dict[str, Node] = {"rules": node, "shipped": Node("none", node.source, node.line)}
        return decode(Node(bare, node.source, node.line), PlacementConfig)
    inner = node.at(("plugins", URI))
    return decode(inner, PlacementConfig, ("plugins", URI)) if inner else decode(node, PlacementConfig)
