"""The regular expressions of ``~=``, by RE2 (https://github.com/google/re2/wiki/Syntax): the same syntax as Go's.

An expression needs to match a part of the text only. A filter comes from a client and runs on the daemon's loop, so a
backtracking engine is not an option; see `holdfast.expression`. Look-around and back-references do not exist in RE2. An
expression that needs more than `holdfast.expression.MEMORY_BYTES` is refused.
"""

from __future__ import annotations

from holdfast.errors import InvalidArgument
from holdfast.expression import compiled

_TOO_LARGE = "pattern too large - compile failed"
#: What Go's regexp/syntax calls the errors that RE2 calls otherwise.
_IN_GO = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "trailing \\": "trailing backslash at end of expression",
    _TOO_LARGE: "expression too large",
}


class FilterExpression:
    """One compiled expression."""

    __slots__ = ("_compiled",)

    def __init__(self, source: str) -> None:
        """Compile it.

        Raises:
            InvalidArgument: it is invalid or too large; in Go's words.
        """
        try:
            self._compiled = compiled(source, dot_matches_newline=False)
        except InvalidArgument as error:
            code, _, part = error.message.partition(": ")
            shown = source if code == _TOO_LARGE else part
            raise InvalidArgument(f"{_IN_GO.get(code, code)}: `{shown}`") from None

    def search(self, text: str) -> bool:
        """Whether it matches somewhere in ``text``."""
        return self._compiled.search(text.encode("utf-8", "surrogatepass")) is not None
