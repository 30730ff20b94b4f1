from __future__ import annotations

from urllib.parse import quote

import grpc
import pytest
from holdfast.errors import Code, InvalidArgument, NotFound
from holdfast.rpc.status import MAX_WORDS_BYTES, STATUS_CODES, code_number, details_of, shortened, words_of
from hypothesis import given
from hypothesis import strategies as st


def test_every_code_has_its_grpc_status_by_number():
    assert {code.value: status.value[0] for code, status in STATUS_CODES.items()} == {n: n for n in range(17)}


@pytest.mark.parametrize(("code", "number"), [(None, 0), (grpc.StatusCode.NOT_FOUND, 5), (7, 7), (0, 0)])
def test_a_code_is_its_number_however_a_handler_gave_it(code, number):
    assert code_number(code) == number


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (NotFound("lease"), Code.NOT_FOUND, "lease: not found"),
        (KeyError("x"), Code.UNKNOWN, "KeyError: 'x'"),
        (ValueError(), Code.UNKNOWN, "ValueError"),
        (TimeoutError(), Code.DEADLINE_EXCEEDED, "TimeoutError"),
        (FileNotFoundError(2, "No such file", "/x"), Code.NOT_FOUND, "[Errno 2] No such file: '/x'"),
    ],
)
def test_the_callers_sentence(error, code, words):
    assert words_of(error, code) == words


def test_an_error_without_details_has_no_trailer():
    assert details_of(InvalidArgument("x"), Code.INVALID_ARGUMENT, "x") == ()


@given(st.text(min_size=0, max_size=9000))
def test_a_sentence_fits_its_header_and_is_left_alone_when_it_does_anyway(words):
    cut = shortened(words)
    assert len(quote(cut, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", errors="replace")) <= MAX_WORDS_BYTES
    if len(words) * 12 <= MAX_WORDS_BYTES:
        assert cut == words
    assert words.startswith(cut.removesuffix("…"))
