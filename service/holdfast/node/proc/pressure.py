"""Pressure stall information: for how long work waited for memory, CPU or I/O (Documentation/accounting/psi.rst)."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

RESOURCES = ("cpu", "io", "memory")


class Pressure(Struct, frozen=True):
    """One line: percent of the last 10, 60 and 300 s, and seconds in total. ``full``: nobody could work."""

    resource: str
    full: bool
    avg10_pct: float
    avg60_pct: float
    avg300_pct: float
    total_s: float


def parse_pressure(resource: str, text: str) -> tuple[Pressure, ...]:
    """The lines of one file; lines of another shape are skipped."""
    # some avg10=0.22 avg60=0.17 avg300=1.11 total=58761459
    found = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        values: Mapping[str, str] = dict(word.split("=", 1) for word in rest.split() if "=" in word)
        if kind in ("some", "full") and {"avg10", "avg60", "avg300", "total"} <= values.keys():
            ten, sixty, three_hundred = (float(values[key]) for key in ("avg10", "avg60", "avg300"))
            found.append(Pressure(resource, kind == "full", ten, sixty, three_hundred, int(values["total"]) / 1e6))
    return tuple(found)


def read_pressure(directory: str, *, of_group: bool = False) -> tuple[Pressure, ...]:
    """The node's (``<proc>/pressure``) or, with ``of_group``, a v2 cgroup's; empty where the kernel keeps none."""
    found: list[Pressure] = []
    for resource in RESOURCES:
        name = f"{resource}.pressure" if of_group else resource
        try:
            with open(f"{directory}/{name}") as file:
                found += parse_pressure(resource, file.read())
        except OSError:  # CONFIG_PSI off, psi=0 (EOPNOTSUPP on read), or an older kernel
            continue
    return tuple(found)
