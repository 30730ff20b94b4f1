"""Times and sizes as people write them: ``1h30m``, ``500ms``, ``256Mi``.

`Duration` and `Bytes` are types for the fields of any config struct, a plugin's included: the field holds a plain
number (seconds, bytes), the file holds text, and bounds are msgspec's own::

    rescan: Annotated[Duration, Meta(ge=1, description="time between rescans")] = 30.0

Durations are Go's (https://pkg.go.dev/time#ParseDuration), sizes are Kubernetes quantities of bytes
(https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

#: Seconds. Read from a Go duration; 0 needs no unit.
Duration = Annotated[float, Meta(extra={"quantity": "duration"})]
#: Bytes. Read from a whole number or a Kubernetes quantity.
Bytes = Annotated[int, Meta(extra={"quantity": "bytes"})]

MAX_DURATION_S = (2**63 - 1) / 1e9  # Go counts nanoseconds in 64 bits: about 292 years
MAX_BYTES = 2**63 - 1

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|Ti|Pi|Ei|k|K|M|G|T|P|E|)B?")
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_LONGEST = 64  # characters; longer is no quantity, and a number of any length is work


def parse_duration(text: str) -> float:
    """Return the seconds of a Go duration such as ``1h2m3.5s``; a sign is allowed, as in Go.

    Raises:
        ValueError: ``unable to parse soon into a time duration`` (containerd's words).
    """
    sign, body = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if body == "0":
        return 0.0
    parts = list(_DURATION.finditer(body)) if len(body) <= _LONGEST else []
    if not parts or "".join(part[0] for part in parts) != body:
        raise ValueError(f"unable to parse {_named(text)} into a time duration")
    seconds = sum(_exact(part[1], _NANOSECONDS[part[2]])[0] for part in parts) / 10**9
    if seconds > MAX_DURATION_S:
        raise ValueError(f"unable to parse {text} into a time duration: longer than 292 years")
    return sign * seconds


def parse_bytes(text: str) -> int:
    """Return the bytes of a Kubernetes quantity such as ``256Mi``, ``1.5Gi`` or ``1G``.

    Raises:
        ValueError: not a quantity, or not a whole number of bytes.
    """
    match = _SIZE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(f"unable to parse {_named(text)} into a size")
    size, rest = _exact(match[1], _BINARY.get(match[2]) or _DECIMAL[match[2]])
    if rest or size > MAX_BYTES:
        raise ValueError(f"unable to parse {text} into a size: not a whole number of bytes below 8Ei")
    return size


def _named(text: str) -> str:
    """``text`` that could not be parsed, as containerd shows it, always on one line."""
    return (text if text.isprintable() else ascii(text)[1:-1])[:_LONGEST]


def _exact(number: str, unit: int) -> tuple[int, int]:
    """``number × unit`` rounded down, and a remainder if anything was lost: decimals without a float's error."""
    whole, _, decimals = number.partition(".")
    tens: int = 10 ** len(decimals)
    return divmod(int(whole + decimals or "0") * unit, tens)


def format_duration(seconds: float) -> str:
    """The shortest Go duration that reads back as ``seconds``: ``1m30s``, ``250ms``, ``0s``."""
    left = round(abs(seconds) * 10**9)
    sign = "-" if seconds < 0 and left else ""
    if left == 0:
        return "0s"
    if left < 10**9:
        unit = next(unit for unit in ("ms", "us", "ns") if left % _NANOSECONDS[unit] == 0)
        return f"{sign}{left // _NANOSECONDS[unit]}{unit}"
    hours, left = divmod(left, _NANOSECONDS["h"])
    minutes, left = divmod(left, _NANOSECONDS["m"])
    rest = f"{left // 10**9}.{left % 10**9:09d}".rstrip("0").rstrip(".")
    parts = ((f"{hours}", "h"), (f"{minutes}", "m"), (rest, "s"))
    return sign + "".join(number + unit for number, unit in parts if number != "0")


def format_bytes(size: int) -> str | int:
    """``256Mi`` where a binary unit divides ``size``, else the number itself."""
    for unit in reversed(_BINARY):
        if size and size % _BINARY[unit] == 0:
            return f"{size // _BINARY[unit]}{unit}"
    return size


#: By the name in ``Meta(extra={"quantity": …})``: how text becomes a number, and what a message calls it.
PARSERS: dict[str, Callable[[str], float]] = {"duration": parse_duration, "bytes": parse_bytes}
FORMATTERS: dict[str, Callable[[float], str | int]] = {
    "duration": format_duration,
    "bytes": lambda size: format_bytes(int(size)),
}
EXAMPLES = {"duration": 'such as "30s" or "1h2m"', "bytes": 'such as 4096 or "256Mi"'}
WORDS = {"duration": f"a duration {EXAMPLES['duration']}", "bytes": f"a size in bytes {EXAMPLES['bytes']}"}
