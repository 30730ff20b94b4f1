"""Nodes of a configuration as it was written: values with their file and line.

Readers make them, `merge` joins them, `migrate` changes their shape, `decode` turns them into a struct. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from msgspec import Struct

Scalar: TypeAlias = str | int | float | bool | None
Path: TypeAlias = tuple[str | int, ...]

MAX_DEPTH = 64
MAX_VALUES = 100_000


class Source(Struct, frozen=True):
    """Origin of values. ``lenient``: containerd's TOML, whose unknown keys are a warning, not an error. ``version``: of
    containerd's configuration, 0 for our own files.
    """

    path: str
    lenient: bool = False
    short_ids: bool = False  # a version 1 file: plugins are named by id alone
    version: int = 0


class Node(Struct, frozen=True):
    """One value: a scalar, a mapping or a list of nodes. ``line`` counts from 1; 0 is not in any file."""

    value: Scalar | dict[str, Node] | list[Node]
    source: Source
    line: int = 0

    @property
    def where(self) -> str:
        """``config.yaml:12``, or the source alone without a line."""
        return f"{self.source.path}:{self.line}" if self.line else self.source.path

    def children(self) -> Iterator[tuple[str | int, Node]]:
        """Keys or indices with their nodes; nothing for a scalar."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def at(self, path: Path) -> Node | None:
        """The node at ``path``, None where there is none."""
        node = self
        for step in path:
            found = dict(node.children()).get(step)
            if found is None:
                return None
            node = found
        return node

    def nearest(self, path: Path) -> Node:
        """The node at ``path`` or its closest ancestor, for a message about a missing key."""
        for length in range(len(path), 0, -1):
            found = self.at(path[:length])
            if found is not None:
                return found
        return self

    def plain(self) -> Any:
        """The value without its places: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def mapping(self) -> dict[str, Node]:
        """The entries of a mapping; none for anything else (`decode` reports the wrong type)."""
        return self.value if isinstance(self.value, dict) else {}

    def with_value(self, value: Scalar | dict[str, Node] | list[Node]) -> Node:
        """Return a node with another value at the same place."""
        return Node(value, self.source, self.line)


def node_of(value: Any, source: Source, line: int = 0) -> Node:
    """Return a plain value as nodes that all have one place."""
    if isinstance(value, dict):
        return Node({str(key): node_of(inner, source, line) for key, inner in value.items()}, source, line)
    if isinstance(value, (list, tuple)):
        return Node([node_of(inner, source, line) for inner in value], source, line)
    return Node(value, source, line)


def key_words(path: Path) -> str:
    """A path as people write it: ``grpc.grants[0].methods``, ``plugins."io.containerd.gc.v1.scheduler".x``."""
    words = ""
    for step in path:
        if isinstance(step, int):
            words += f"[{step}]"
        else:
            plain = step.replace("_", "a").replace("-", "a").isalnum()
            words += ("." if words else "") + (step if plain else f'"{step}"')
    return words
