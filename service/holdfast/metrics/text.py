"""Tokens of the Prometheus text format, version 0.0.4, and of OpenMetrics 1.0: label values, numbers, comment lines.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details,
https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from holdfast.inert import valid

_WHOLE_BOUND = re.compile(r'(?<=[{,])le="(-?[0-9]+)"')
_LABEL_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def header(name: str, help_text: str, kind: str) -> str:
    """Return the HELP and TYPE lines of a family."""
    return f"# HELP {name} {help_text.translate(_HELP_ESCAPES)}\n# TYPE {name} {kind}\n"


def openmetrics_header(name: str, help_text: str, kind: str) -> str:
    """Return the TYPE and HELP lines of a family in OpenMetrics, where a counter's family lacks its samples' suffix."""
    if kind == "counter":
        name, kind = (name.removesuffix("_total"), kind) if name.endswith("_total") else (name, "unknown")
    return f"# TYPE {name} {kind}\n# HELP {name} {help_text.translate(_LABEL_ESCAPES)}\n"


def openmetrics_bounds(line: str) -> str:
    """Return a line of a histogram with a whole bound as OpenMetrics writes it: ``le="1.0"``."""
    return _WHOLE_BOUND.sub(r'le="\1.0"', line)


def pairs(labels: Iterable[tuple[str, str]]) -> str:
    """``key="value",key="value"``, without braces. A file name may hold any bytes, the text format only UTF-8."""
    return ",".join(f'{key}="{valid(value).translate(_LABEL_ESCAPES)}"' for key, value in labels)


def braced(inside: str) -> str:
    """Return the pairs in braces; empty for no pairs."""
    return f"{{{inside}}}" if inside else ""


def number(value: float) -> str:
    """Return a value in a form that Go's parser reads; whole numbers without a fraction."""
    if type(value) is int:
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def bound(limit: float) -> str:
    """Return the value of ``le``: Go's shortest form, ``+Inf`` for the last bucket."""
    return "+Inf" if limit == math.inf else f"{limit:g}" if float(f"{limit:g}") == limit else repr(float(limit))
