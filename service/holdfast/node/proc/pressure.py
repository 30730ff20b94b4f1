"""Pressure stall information: for how long work waited for memory, CPU or I/O (Documentation/accounting/psi.rst)."""

from __future__ import annotations

import re

from msgspec import Struct

from holdfast import kernel_text
from holdfast.errors import KernelRefused

RESOURCES = ("cpu", "io", "memory")


class Pressure(Struct, frozen=True):
    """One line: percent of the last 10 s, and seconds in total. ``full``: no process could work."""

    resource: str
    full: bool
    avg10_pct: float
    total_s: float


# some avg10=0.22 avg60=0.17 avg300=1.11 total=58761459
_LINE = re.compile(
    r"(some|full) avg10=(\d{1,4}\.\d{1,9}) avg60=\d{1,4}\.\d{1,9} avg300=\d{1,4}\.\d{1,9} total=(\d{1,20})\Z",
    re.ASCII,
)


def parse_pressure(resource: str, text: bytes) -> tuple[Pressure, ...]:
    """Parse the lines of one file; skip lines of another shape."""
    found = []
    for line in kernel_text.lines(text):
        if words := _LINE.match(kernel_text.decode(line)):
            found.append(Pressure(resource, words[1] == "full", float(words[2]), int(words[3]) / 1e6))
    return tuple(found)


def read_pressure(directory: str, *, of_group: bool = False) -> tuple[Pressure, ...]:
    """Read the node's (``<proc>/pressure``) or, with ``of_group``, a v2 cgroup's; empty where the kernel keeps none."""
    found: list[Pressure] = []
    for resource in RESOURCES:
        name = f"{resource}.pressure" if of_group else resource
        try:
            found += parse_pressure(resource, kernel_text.read(f"{directory}/{name}"))
        except KernelRefused:  # CONFIG_PSI off, psi=0 (EOPNOTSUPP on read), or an older kernel
            continue
    return tuple(found)
