"""Joining of configuration files: a later file over an earlier one. No I/O.

Mappings merge key by key, at any depth. Lists append, without items that are there already. Everything else is
replaced, also by ``0``, ``false`` and ``""``: a key that is present was meant. ``null`` removes what earlier files set.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.config.document import Node


def merged(files: Iterable[Node]) -> Node | None:
    """All files as one, later ones over earlier ones; None for no file at all."""
    result: Node | None = None
    for file in files:
        result = file if result is None else over(result, file)
    return result


def over(earlier: Node, later: Node) -> Node:
    """``later`` laid over ``earlier``. A value keeps the place of the file that decided it."""
    if isinstance(earlier.value, dict) and isinstance(later.value, dict):
        joined = dict(earlier.value)
        for key, node in later.value.items():
            joined[key] = over(joined[key], node) if key in joined else node
        return later.with_value(joined)
    if isinstance(earlier.value, list) and isinstance(later.value, list):
        # repr: 1, 1.0 and true are equal in Python, and three different things in a file
        present = {repr(node.plain()) for node in earlier.value}
        return later.with_value(earlier.value + [node for node in later.value if repr(node.plain()) not in present])
    return later


def filled(written: Node, defaults: Node) -> Node:
    """``written`` with its missing and null keys taken from ``defaults``."""
    if written.value is None:
        return defaults
    if not isinstance(written.value, dict) or not isinstance(defaults.value, dict):
        return written
    joined = dict(written.value)
    for key, node in defaults.value.items():
        joined[key] = filled(joined[key], node) if key in joined else node
    return written.with_value(joined)


def overridden(written: Node, flags: Node) -> Node:
    """``written`` with the command line over it; a section of the wrong type stays, for `decode` to refuse."""
    joined = dict(written.mapping())
    for key, node in flags.mapping().items():
        own = joined.get(key)
        is_wrong = own is not None and own.value is not None and type(own.value) is not type(node.value)
        joined[key] = own if own is not None and is_wrong else node if own is None else over(own, node)
    return written.with_value(joined)
