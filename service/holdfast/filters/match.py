"""Match a filter: apply its selectors to the fields of one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from holdfast.errors import InvalidArgument
from holdfast.filters.grammar import Comparison, Operator, parse, refuse

if TYPE_CHECKING:
    from holdfast.filters.expression import FilterExpression

MAX_TEXT = 64 * 1024  # characters in all filters of one request: each event is matched against every one

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
    return Filter(tuple(map(_compiled, texts)) or ((),))


def _compiled(text: str) -> tuple[tuple[tuple[str, ...], Test], ...]:
    return tuple((selector.path, _test(text, selector)) for selector in parse(text))


def _test(text: str, selector: Comparison) -> Test:
    if selector.operator is Operator.MATCHES:
        from holdfast.filters.expression import FilterExpression  # late: RE2 is a megabyte

        try:
            return partial(_matches, FilterExpression(selector.value))
        except InvalidArgument as error:
            refuse(text, len(text), f"error parsing regexp: {error.message}")
    return partial(_COMPARISONS[selector.operator], selector.value)


def _is_present(_wanted: str, _value: str, present: bool) -> bool:
    return present


def _equals(wanted: str, value: str, present: bool) -> bool:
    return present and value == wanted


def _differs(wanted: str, value: str, _present: bool) -> bool:
    return value != wanted  # an absent field differs from all but the empty string


def _matches(matcher: FilterExpression, value: str, _present: bool) -> bool:
    return matcher.search(value)  # an absent field is the empty string


_COMPARISONS: dict[Operator, Callable[[str, str, bool], bool]] = {
    Operator.PRESENT: _is_present,
    Operator.EQUAL: _equals,
    Operator.NOT_EQUAL: _differs,
}

EVERYTHING = parse_all(())
