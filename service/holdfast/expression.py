r"""Regular expressions whose work is linear in the text, whatever the text and the expression: RE2.

A backtracking engine (Python's ``re``) takes time exponential or of a high power in the text for an expression such as
``.*java.*-jar.*app.*``, and the text may be the command line of any process. RE2 walks the text once; its memory is
bounded by `MEMORY_BYTES` an expression, `SET_BYTES` a set. An expression that RE2 cannot match in linear time
(backreferences, look-around) or that needs more memory is refused. Syntax: https://github.com/google/re2/wiki/Syntax.

In an `Expression` a dot is any character, a newline too, and it must match all of the text (as Prometheus anchors its
own). `searcher` has Go's meaning, for filters. A byte of a name that is no UTF-8 (a lone surrogate, see
`holdfast.kernel_text`) counts as one character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import re2

from holdfast.errors import InvalidArgument

#: Bytes of RE2's program and its states for one expression: 2,000 to 4,000 instructions, 11 ms for 4 KiB at the worst.
MEMORY_BYTES = 256 * 1024
#: Bytes for all expressions of a set together.
SET_BYTES = 8 * 1024 * 1024
_SPECIAL = frozenset("\\.+*?()|[]{}^$")


def literal(text: str) -> str:
    """The expression that matches ``text`` itself."""
    return "".join(f"\\{one}" if one in _SPECIAL else one for one in text)


class Expression:
    """One compiled expression."""

    __slots__ = ("_compiled", "source")

    def __init__(self, source: str) -> None:
        """Compile it.

        Raises:
            InvalidArgument: it is not valid, not linear, or too large; with RE2's reason.
        """
        self.source = source
        self._compiled = _compiled(_bytes(source), _options(MEMORY_BYTES))

    def fits(self, text: str) -> bool:
        """Whether it matches all of ``text``."""
        return self._compiled.fullmatch(_bytes(text)) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.source == other.source

    def __hash__(self) -> int:
        return hash(self.source)


def searcher(source: str, memory_bytes: int) -> Callable[[str], bool]:
    """Compile an expression as Go does; return the test whether any part of a text matches.

    Raises:
        InvalidArgument: as `Expression`; bytes of ``source`` that are not UTF-8 (surrogate escapes) are not valid.
    """
    options = _options(memory_bytes)
    options.dot_nl = False
    compiled = _compiled(source.encode(errors="surrogateescape"), options)
    return lambda text: compiled.search(_bytes(text)) is not None


class Expressions:
    """Several expressions; those that fit are found in one walk along the text."""

    def __init__(self, expressions: Sequence[Expression]) -> None:
        self._expressions = tuple(expressions)
        self._set: Any = None

    def fitting(self, text: str) -> Iterator[int]:
        """The indices, ascending, of the expressions that match all of ``text``."""
        if self._set is None:
            self._set = _set_of(self._expressions) or self
        if self._set is self:  # together they are too large for one set
            return (at for at, expression in enumerate(self._expressions) if expression.fits(text))
        return iter(sorted(at for at in self._set.Match(_bytes(text)) or () if at < len(self._expressions)))


_WITNESS = b"\0"  # in no name and no command line


def _set_of(expressions: Sequence[Expression]) -> Any:
    """RE2's set of them; None where it would exceed its memory.

    A set that runs out of memory answers as if no expression fitted, from its first text on. So the set has one more
    expression, and is tested with a text that this one fits.
    """
    made = re2.Set.FullMatchSet(_options(SET_BYTES))
    try:
        for expression in expressions:
            made.Add(_bytes(expression.source))
        witness = made.Add(rb"\x00")
        made.Compile()
    except re2.error:
        return None
    return made if witness in (made.Match(_WITNESS) or ()) else None


def _compiled(source: bytes, options: Any) -> Any:
    try:
        return re2.compile(source, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "not understood"
        raise InvalidArgument(reason.decode(errors="replace") if isinstance(reason, bytes) else reason) from None
    finally:
        re2.purge()  # its cache would keep the expressions of callers that are gone


def _options(memory_bytes: int) -> Any:
    options = re2.Options()
    options.max_mem = memory_bytes
    options.dot_nl = True
    options.never_capture = True
    options.log_errors = False
    return options


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # RE2 takes the form of a surrogate for one character
