"""The number of printed lines of a kind is limited."""

import io
import logging

import pytest
from holdfast import log
from holdfast.log import BURST, MOST_KINDS, Limiter


class Printed:
    """A logger of its own whose lines are kept, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.limiter = Limiter(lambda: self.now)
        self._stream = io.StringIO()
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(log.Logfmt())
        handler.addFilter(self.limiter)
        self._logger = logging.getLogger("test.limiter")
        self._logger.handlers, self._logger.propagate = [handler], False
        self._logger.setLevel(log.TRACE)
        self.say = log.named("test.limiter")

    @property
    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()


@pytest.fixture
def printed():
    return Printed()


def test_of_many_lines_of_a_kind_the_first_are_printed_and_the_rest_is_counted(printed):
    for number in range(5000):
        printed.say.warning("an annotation is refused", pod=f"team/{number}")
    assert len(printed.lines) == BURST
    assert printed.limiter.suppressed == 5000 - BURST
    printed.say.warning("another kind")
    printed.say.error("an annotation is refused")
    assert len(printed.lines) == BURST + 2, "other kinds have their own"


def test_the_next_line_of_the_kind_says_how_many_were_not_printed(printed):
    for _ in range(BURST + 7):
        printed.say.warning("refused")
    printed.now += 1
    printed.say.warning("refused", pod="p")
    assert "not_logged=7 pod=p" in printed.lines[-1]
    printed.say.warning("refused")
    printed.now += 2 * BURST
    printed.say.warning("refused")
    assert "not_logged=1" in printed.lines[-1]
    printed.say.warning("refused")
    assert "not_logged" not in printed.lines[-1]


def test_debug_lines_are_all_printed(printed):
    for _ in range(1000):
        printed.say.debug("looked")
    assert len(printed.lines) == 1000


def test_lines_of_other_libraries_are_told_apart_by_their_words_without_values(printed):
    for number in range(100):
        logging.getLogger("test.limiter").warning("connection %s reset", number)
    assert len(printed.lines) == BURST


def test_kinds_are_bounded(printed):
    for number in range(2 * MOST_KINDS):
        printed.say.info(f"kind {number}")
    assert len(printed.limiter._kinds) == MOST_KINDS
