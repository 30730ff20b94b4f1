"""Checks of identifiers, topics and labels: containerd's rules, with its words."""

from __future__ import annotations

import re

from holdfast.errors import InvalidArgument

MAX_IDENTIFIER = 76
MAX_LABEL = 4096
_PATTERN = r"^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$"
_WHOLE = re.compile(r"-?[0-9]{1,18}\Z")
_IDENTIFIER = re.compile(_PATTERN[:-1] + r"\Z")


def whole_number(text: str) -> int | None:
    """The number of a text of ASCII digits, perhaps after a minus, at most 18 of them; None for any other text.

    `int` takes digits of any script, spaces and underscores, and any length.
    """
    return int(text) if _WHOLE.match(text) else None


def check_identifier(identifier: str) -> str:
    """Return ``identifier`` if it may name a namespace, container, lease or topic part.

    Raises:
        InvalidArgument: empty, longer than 76 characters, or with a character containerd refuses.
    """
    if not identifier:
        raise InvalidArgument("identifier must not be empty")
    if len(identifier) > MAX_IDENTIFIER:
        raise InvalidArgument(f'identifier "{identifier}" greater than maximum length ({MAX_IDENTIFIER} characters)')
    if not _IDENTIFIER.match(identifier):
        raise InvalidArgument(f'identifier "{identifier}" must match {_PATTERN}')
    return identifier


def check_topic(topic: str) -> str:
    """Return ``topic`` if it is a path of identifiers that begins with ``/``.

    Raises:
        InvalidArgument: with the reason after ``envelope topic "…":``.
    """
    if not topic:
        raise InvalidArgument('envelope topic "": must not be empty')
    if not topic.startswith("/"):
        raise InvalidArgument(f"envelope topic \"{topic}\": must start with '/'")
    if len(topic) == 1:
        raise InvalidArgument(f'envelope topic "{topic}": must have at least one component')
    for component in topic[1:].split("/"):
        try:
            check_identifier(component)
        except InvalidArgument as error:
            raise InvalidArgument(
                f'envelope topic "{topic}": failed validation on component "{component}": {error.message}'
            ) from None
    return topic


def check_label(key: str, value: str) -> None:
    """Refuse a label whose key and value together exceed 4096 bytes.

    Raises:
        InvalidArgument: with the sizes and the first ten characters of the key.
    """
    size = len(key.encode()) + len(value.encode())
    if size > MAX_LABEL:
        raise InvalidArgument(
            f"label key and value length ({size} bytes) greater than maximum size ({MAX_LABEL} bytes), key: {key[:10]}"
        )
