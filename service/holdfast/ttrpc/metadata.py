"""Metadata: text by key, a key may have several values; one immutable value per call.

It is immutable because calls share it: the Go library had crashes from a map that two calls wrote to. Keys are
lower-cased when they are written, never on receipt: a peer's unusual key is visible as sent. A key is looked up as
spelled, then in lower case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


class Metadata(Mapping[str, tuple[str, ...]]):
    """``metadata["key"]`` is every value of the key, in order."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str | Iterable[str]] | None = None) -> None:
        self._values: dict[str, tuple[str, ...]] = {}
        for key, value in (values or {}).items():
            listed = (value,) if isinstance(value, str) else tuple(value)
            if listed:
                self._values[key.lower()] = self._values.get(key.lower(), ()) + listed

    @classmethod
    def received(cls, pairs: Iterable[tuple[str, str]]) -> Metadata:
        """Return the metadata of a request: keys as sent, the values of a repeated key in their order."""
        metadata = cls()
        for key, value in pairs:
            metadata._values[key] = (*metadata._values.get(key, ()), value)
        return metadata

    def __getitem__(self, key: str) -> tuple[str, ...]:
        values = self._values.get(key)
        return self._values[key.lower()] if values is None else values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"Metadata({self._values!r})"

    def first(self, key: str, default: str = "") -> str:
        """Return the first value of a key."""
        values = self.get(key)
        return values[0] if values else default

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield one pair per value, as on the wire."""
        for key, values in self._values.items():
            for value in values:
                yield key, value

    def replacing(self, key: str, *values: str) -> Metadata:
        """Return a copy in which ``key`` has these values; without values, the key is removed."""
        changed = Metadata.received(self.pairs())
        changed._values.pop(key, None)
        changed._values.pop(key.lower(), None)
        if values:
            changed._values[key.lower()] = values
        return changed

    def appending(self, key: str, *values: str) -> Metadata:
        """Return a copy in which ``key`` has these values after the existing ones."""
        return self.replacing(key, *self.get(key, ()), *values)


EMPTY = Metadata()
