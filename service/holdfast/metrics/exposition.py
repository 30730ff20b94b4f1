"""The Prometheus text format, version 0.0.4, from slots.

https://prometheus.io/docs/instrumenting/exposition_formats/. A client library's writer took 38 ms for 3,600
samples and holds the loop (docs/performance.md); this one writes what our families hold and nothing else.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from typing import Protocol

from holdfast.metrics.family import Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Printable(Protocol):
    """What a registry prints: any family, or a collector that keeps its own slots."""

    @property
    def name(self) -> str:
        """The family's name."""

    @property
    def help_text(self) -> str:
        """What it counts, in one sentence."""

    @property
    def kind(self) -> str:
        """``counter``, ``gauge`` or ``histogram``."""

    def samples(self) -> Iterable[Sample]:
        """The lines now."""


class Registry:
    """The families of one daemon."""

    def __init__(self) -> None:
        self._families: dict[str, Printable] = {}

    def add(self, *families: Printable) -> None:
        """Print these from now on.

        Raises:
            ValueError: a family of that name is there already.
        """
        for family in families:
            if family.name in self._families:
                raise ValueError(f"{family.name}: a metric of that name is registered already")
            self._families[family.name] = family

    def remove(self, *families: Printable) -> None:
        """Stop printing these (a plugin was closed)."""
        for family in families:
            self._families.pop(family.name, None)

    def text(self) -> bytes:
        """The whole exposition; a plugin that uses prometheus_client is printed after our own families."""
        lines = [line for _, family in sorted(self._families.items()) for line in _printed(family)]
        return ("\n".join(lines) + "\n").encode() + _client_library_text()


def _printed(family: Printable) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help_text.translate(_HELP_ESCAPES)}"
    yield f"# TYPE {family.name} {family.kind}"
    for suffix, labels, value in family.samples():
        inside = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
        braces = f"{{{inside}}}" if inside else ""
        yield f"{family.name}{suffix}{braces} {_number(value)}"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _client_library_text() -> bytes:
    """The default registry of prometheus_client, when some plugin imported it; never imported by us."""
    library = sys.modules.get("prometheus_client")
    return bytes(library.generate_latest()) if library is not None else b""
