"""Two readers of ``holdfast run``'s options: the one without a library reads what it reads as click does."""

from __future__ import annotations

import click
import pytest
from holdfast.cli import start
from holdfast.cli.run import run


def by_click(words):
    """What click makes of the same words; None for what it refuses or answers itself."""
    try:
        given = run.make_context("run", list(words)).params
    except (click.ClickException, click.exceptions.Exit):
        return None
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-c", "/etc/x.yaml"],
        ["--config", "/etc/x.yaml", "--root", "r", "--state", "s", "-a", "sock", "-l", "debug", "--hints"],
        ["--config=/etc/x.yaml", "--no-hints", "--log-level=warn", "--address=a=b"],
    ],
)
def test_plain_options_are_read_without_click_and_mean_the_same(words):
    assert start.options(words) == by_click(words)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["stray"],
        ["-c"],
        ["-c", "-l"],
        ["-c", ""],
        ["-cfile"],
        ["-c=file"],
        ["--conf", "x"],
        ["-c", "a", "-c", "b"],
        ["--", "x"],
        ["--hints=yes"],
        ["--config="],
    ],
)
def test_what_needs_words_or_a_decision_is_left_to_click(words):
    assert start.options(words) is None


def test_every_option_that_click_has_is_in_the_table():
    names = {name for option in run.params for name in (*option.opts, *option.secondary_opts)}
    assert names - {"--help"} == {*start.VALUES, *start.FLAGS}
    for option in run.params:
        assert {start.VALUES[name] for name in option.opts if name in start.VALUES} <= {option.name}
