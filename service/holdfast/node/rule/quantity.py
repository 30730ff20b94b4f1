"""Numbers as people write them: sizes with units, whole numbers within bounds."""

from __future__ import annotations

from holdfast.config.quantity import parse_bytes
from holdfast.errors import InvalidArgument

Value = int | str | tuple[str, ...]
_MOST_DIGITS = 20  # of 64 bits and a sign; a longer number costs time and fits no file


def size_in_bytes(value: Value) -> int | None:
    """A size as bytes; None for no limit (``max``, ``-1``).

    Raises:
        InvalidArgument: it is not a size.
    """
    if value in ("max", "-1", -1):
        return None
    if isinstance(value, int) and value >= 0:
        return value
    try:
        return parse_bytes(str(value).strip())
    except ValueError:
        raise InvalidArgument(f'"{value}" is not a size: write a number of bytes, 256Mi, 2G or max') from None


def whole(value: Value, lowest: int, highest: int) -> int:
    """A whole number within bounds.

    Raises:
        InvalidArgument: it is not a number, or not within bounds.
    """
    text = str(value).removeprefix("default ")
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        raise InvalidArgument(f'"{value}" is not a whole number')
    number = int(text)
    if not lowest <= number <= highest:
        raise InvalidArgument(f"{number} is not within {lowest} and {highest}")
    return number
