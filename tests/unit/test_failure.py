import asyncio
import io
import logging

import pytest
from holdfast import failure, log
from holdfast.errors import Internal, NotFound


def raised(error):
    """``error`` with a traceback of this file."""
    try:
        raise error
    except BaseException as caught:
        return caught


HERE = f"{__file__}:{raised.__code__.co_firstlineno + 3}"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("torn"), "ValueError: torn"),
        (ValueError(), "ValueError"),
        (KeyError("x"), "KeyError: 'x'"),
        (NotFound("the file"), "the file: not found"),
        (asyncio.CancelledError(), "something that it awaited was cancelled"),
        (
            ExceptionGroup("two", [ValueError("torn"), ExceptionGroup("in it", [KeyError("x")])]),
            "ExceptionGroup: two (2 sub-exceptions): ValueError: torn;"
            " ExceptionGroup: in it (1 sub-exception): KeyError: 'x'",
        ),
    ],
)
def test_the_sentence_of_an_error_has_its_class_unless_it_is_ours(error, words):
    assert failure.sentence(error) == words


def test_the_place_is_the_innermost_frame_of_the_authors_code():
    assert failure.place(raised(ValueError("torn"))) == HERE
    with pytest.raises(ValueError, match="invalid literal") as caught:
        asyncio.run(asyncio.wait_for(parse(), 1))
    assert failure.place(caught.value) == f"{__file__}:{parse.__code__.co_firstlineno + 1}"


async def parse():
    return int("x")


def test_the_place_is_looked_for_in_the_members_of_a_group_and_in_what_an_error_was_raised_from():
    outer = ExceptionGroup("two", [raised(ValueError("torn"))])
    assert failure.place(outer) == HERE
    chained = NotFound("the file")
    chained.__cause__ = raised(OSError("gone"))
    assert failure.place(chained) == HERE
    assert failure.place(ValueError("never raised")) == ""


def test_the_place_of_a_syntax_error_is_in_the_file_that_has_it():
    with pytest.raises(SyntaxError) as caught:
        compile("a = 1\nb = (", "/plugin.py", "exec")
    assert failure.place(caught.value) == "/plugin.py:2"


def test_a_traceback_has_the_cause_and_loses_its_middle_where_it_is_long():
    error = NotFound("the file")
    error.__cause__ = raised(ValueError("torn"))
    text = failure.trace(error)
    assert "ValueError: torn" in text
    assert text.endswith("NotFound: the file: not found")
    cut = failure.trace(raised(ValueError("x" * 100_000)))
    assert cut.startswith("Traceback (most recent call last):")
    assert len(cut) < failure.LONGEST + 10


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), BaseExceptionGroup("g", [SystemExit()])])
async def test_what_would_end_a_task_is_contained(error):
    contained = failure.contained(error)
    assert (type(contained), contained.__cause__) == (Internal, error)


async def test_a_cancellation_is_contained_unless_it_is_the_tasks_own():
    assert "was cancelled" in str(failure.contained(asyncio.CancelledError()))

    async def cancelled():
        asyncio.current_task().cancel()
        failure.contained(asyncio.CancelledError())

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(cancelled())


def test_a_log_line_of_an_exception_keeps_its_place_and_traceback():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.Logfmt())
    logger = logging.Logger("a plugin's")
    logger.addHandler(handler)
    try:
        raise ValueError("torn")
    except ValueError:
        logger.exception("it failed")
    (line,) = stream.getvalue().splitlines()
    assert 'msg="it failed"' in line
    assert 'error="ValueError: torn"' in line
    assert f'at="{__file__}:' in line
    assert 'traceback="Traceback (most recent call last):\\n' in line
