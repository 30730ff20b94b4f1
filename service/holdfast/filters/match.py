"""Match a filter: apply its selectors to the fields of one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct

from holdfast.errors import InvalidArgument
from holdfast.filters.grammar import Comparison, Operator, parse, refuse

MAX_TEXT = 64 * 1024  # characters in all filters of one request: each event is matched against every one
#: Bytes for a request's regular expressions together. Eight may be as large as RE2 lets any be; compiling those takes
#: 160 ms, on the daemon's loop.
EXPRESSION_BYTES = 2 * 1024 * 1024

Test = Callable[[str, bool], bool]


class Adaptor(Protocol):
    """Interface of an object that can be filtered."""

    def field(self, path: Sequence[str]) -> tuple[str, bool]:
        """Return the value at ``path`` and whether it is present; an absent one is ``("", False)``."""


class Filter(Struct, frozen=True):
    """Compiled filters: at least one of ``alternatives`` must match, with all its tests."""

    alternatives: tuple[tuple[tuple[tuple[str, ...], Test], ...], ...]

    @property
    def matches_everything(self) -> bool:
        """Whether every object matches: there is no filter, or an empty one."""
        return not all(self.alternatives)

    def match(self, adaptor: Adaptor) -> bool:
        """Whether any of the filters matches ``adaptor``."""
        for tests in self.alternatives:  # plain loops: every event passes here once for every subscriber
            for path, test in tests:
                if not test(*adaptor.field(path)):
                    break
            else:
                return True
        return False


def parse_all(filters: Iterable[str]) -> Filter:
    """Compile the filters of one request; none of them, like an empty one, matches everything.

    Raises:
        InvalidArgument: a filter is invalid; the text is containerd's. An invalid regular expression is refused
            too (containerd logs it and matches nothing), and more than ``MAX_TEXT`` characters.
    """
    texts = list(filters)
    if (size := sum(map(len, texts))) > MAX_TEXT:
        raise InvalidArgument(f"filters: {size} characters in all, at most {MAX_TEXT}")
    parsed = [(text, parse(text)) for text in texts]
    number = sum(each.operator is Operator.MATCHES for _, comparisons in parsed for each in comparisons)
    share = EXPRESSION_BYTES // max(number, 8)
    compiled = (tuple((each.path, _test(text, each, share)) for each in comparisons) for text, comparisons in parsed)
    return Filter(tuple(compiled) or ((),))


def _test(text: str, comparison: Comparison, expression_bytes: int) -> Test:
    if comparison.operator is not Operator.MATCHES:
        return partial(_COMPARISONS[comparison.operator], comparison.value)
    from holdfast.expression import searcher  # RE2 is loaded for the first expression

    try:
        return partial(_matches, searcher(comparison.value, expression_bytes))
    except InvalidArgument as error:
        refuse(text, len(text), f"error parsing regexp: {error.message}")


def _is_present(_wanted: str, _value: str, present: bool) -> bool:
    return present


def _equals(wanted: str, value: str, present: bool) -> bool:
    return present and value == wanted


def _differs(wanted: str, value: str, _present: bool) -> bool:
    return value != wanted  # an absent field differs from all but the empty string


def _matches(search: Callable[[str], bool], value: str, _present: bool) -> bool:
    return search(value)  # an absent field is the empty string


_COMPARISONS: dict[Operator, Callable[[str, str, bool], bool]] = {
    Operator.PRESENT: _is_present,
    Operator.EQUAL: _equals,
    Operator.NOT_EQUAL: _differs,
}

EVERYTHING = parse_all(())
