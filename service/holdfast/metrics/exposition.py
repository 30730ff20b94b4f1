"""The Prometheus text format, version 0.0.4, from slots; and OpenMetrics 1.0, which has exemplars.

https://prometheus.io/docs/instrumenting/exposition_formats/. A client library's writer took 38 ms for 3,600
samples and blocks the loop (docs/performance.md); this one writes our families' slots and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator
from importlib import import_module
from typing import Any, Protocol

from holdfast import log
from holdfast.metrics import text
from holdfast.metrics.family import Counter, Histogram

LOG = log.named(__name__)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Printable(Protocol):
    """Interface of a registry's members: any family, or a collector that keeps its own slots."""

    @property
    def name(self) -> str:
        """The family's name."""

    @property
    def help_text(self) -> str:
        """The help line: one line on the measured quantity."""

    @property
    def kind(self) -> str:
        """``counter``, ``gauge`` or ``histogram``."""

    def write(self, lines: list[str]) -> None:
        """Append every line, each with its newline."""


class Registry:
    """The families of one daemon."""

    def __init__(self) -> None:
        self._families: dict[str, Printable] = {}

    def add(self, *families: Printable) -> None:
        """Print these from now on.

        Raises:
            ValueError: a family of that name exists already; none of these was added.
        """
        names = [family.name for family in families]
        for index, name in enumerate(names):
            if name in self._families or name in names[:index]:
                raise ValueError(f"{name}: a metric of that name is registered already")
        self._families.update(zip(names, families, strict=True))

    def remove(self, *families: Printable) -> None:
        """Stop printing these (a plugin was closed)."""
        for family in families:
            if self._families.get(family.name) is family:
                del self._families[family.name]

    def text(self, *, openmetrics: bool = False) -> bytes:
        """Return the whole exposition; metrics of plugins that use prometheus_client follow our own families.

        A family that cannot be read is left out and logged, so that the operator still gets the others. In OpenMetrics
        a family with a method ``write_openmetrics`` is printed by that: it has exemplars.
        """
        lines: list[str] = []
        header = text.openmetrics_header if openmetrics else text.header
        for name, family in sorted(self._families.items()):
            before = len(lines)
            lines.append(header(name, family.help_text, family.kind))
            try:
                write = getattr(family, "write_openmetrics", family.write) if openmetrics else family.write
                write(lines)
            except Exception as error:  # `read` may be a plugin's code
                del lines[before:]
                LOG.warning("metric left out of the scrape", name=name, error=f"{type(error).__name__}: {error}")
            if openmetrics and family.kind == "histogram":
                lines[before:] = map(text.openmetrics_bounds, lines[before:])
        end = b"# EOF\n" if openmetrics else b""
        return "".join(lines).encode() + _client_library_text(self._families, openmetrics) + end


class MetricGroup:
    """Base of a class whose attributes are the metrics of one subject: they are printed, and removed, together."""

    def register(self, registry: Registry) -> None:
        """Print all families from now on."""
        registry.add(*self._families())

    def unregister(self, registry: Registry) -> None:
        """Stop printing them."""
        registry.remove(*self._families())

    def _families(self) -> list[Counter | Histogram]:
        return [family for family in vars(self).values() if isinstance(family, Counter | Histogram)]


class _Foreign:
    """The default registry of prometheus_client without the families we print ourselves (its process collector)."""

    def __init__(self, registry: Any, ours: Container[str]) -> None:
        self._registry, self._ours = registry, ours

    def collect(self) -> Iterator[Any]:
        for family in self._registry.collect():
            if family.name not in self._ours and f"{family.name}_total" not in self._ours:
                yield family


def _client_library_text(ours: Container[str], openmetrics: bool) -> bytes:
    """Return the text of prometheus_client's metrics if a plugin imported it; holdfast never imports it."""
    library = sys.modules.get("prometheus_client")
    if library is None:
        return b""
    if not openmetrics:
        return bytes(library.generate_latest(_Foreign(library.REGISTRY, ours)))
    writer = import_module("prometheus_client.openmetrics.exposition")
    return bytes(writer.generate_latest(_Foreign(library.REGISTRY, ours))).removesuffix(b"# EOF\n")
