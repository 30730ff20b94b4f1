"""Numbers as people write them: sizes with units, whole numbers within bounds."""

from __future__ import annotations

import re

from holdfast.errors import InvalidArgument

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4} | {
    f"{prefix}i": 1024 ** (power + 1) for power, prefix in enumerate("KMGT")
}
_SIZE = re.compile(r"(\d+)\s*([KMGT]i?)?B?\Z")


def size_in_bytes(value: int | str | tuple[str, ...]) -> int | None:
    """A size as bytes; None for no limit (``max``, ``-1``).

    Raises:
        InvalidArgument: it is not a size.
    """
    if value in ("max", "-1", -1):
        return None
    if isinstance(value, int) and value >= 0:
        return value
    found = _SIZE.match(str(value).strip())
    if not found:
        raise InvalidArgument(f'"{value}" is not a size: write a number of bytes, 256Mi, 2G or max')
    unit: int = _UNITS[found[2] or ""]
    return int(found[1]) * unit


def whole(value: int | str | tuple[str, ...], lowest: int, highest: int) -> int:
    """A whole number within bounds.

    Raises:
        InvalidArgument: it is not.
    """
    try:
        number = int(str(value).removeprefix("default "))
    except ValueError:
        raise InvalidArgument(f'"{value}" is not a whole number') from None
    if not lowest <= number <= highest:
        raise InvalidArgument(f"{number} is not within {lowest} and {highest}")
    return number
