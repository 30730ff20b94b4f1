"""The word linter: which text of a file it reads, and the line on which it finds a word."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "docs" / "words.py"
LISTS = {"words": {"odd": "even", "give back": "restore"}, "pages": {"(?-i:What)": "the thing"}}


@pytest.fixture(scope="module")
def words():
    spec = importlib.util.spec_from_file_location("words", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def found(words):
    return lambda path, text: sorted((line, word) for line, word, _ in words.findings(path, text, LISTS))


def test_a_finding_has_its_line_and_what_to_write(words):
    assert list(words.findings("a.md", "one\nan odd word\n", LISTS)) == [(2, "odd", "even")]


def test_a_turn_of_phrase_goes_over_the_end_of_a_line(found):
    assert found("a.md", "they give\nback") == [(1, "give back")]
    assert found("service/holdfast/a.py", "# they give\n# back\n") == [(1, "give back")]
    assert found("service/holdfast/a.py", 'say("they give "\n    "back again")\n') == [(1, "give back")]


def test_code_does_not_join_two_words(found):
    assert found("service/holdfast/a.py", "x = 1  # they give\ny = 2  # back\n") == []


@pytest.mark.parametrize(
    "page",
    [
        "an `odd` word",
        'an "odd" word',
        "```\nodd\n```",
        "<!-- bench:rpc -->\nodd\n<!-- /bench -->",
        "[a page](odd.md)",
        "an odd-numbered page",
        "a.odd and odd()",
    ],
)
def test_code_quotations_links_and_generated_text_of_a_page_are_not_read(found, page):
    assert found("docs/a.md", page) == []


def test_after_code_the_lines_are_still_counted(found):
    assert found("docs/a.md", "```\nodd\n\nodd\n```\n`odd` odd\n") == [(6, "odd")]


def test_docstrings_comments_and_messages_of_the_service_are_read(found):
    source = '"""odd"""\n\nodd = "odd"\nsay("an odd message")  # odd\nsay(f"an odd {odd} one", "odd")\n'
    assert found("service/holdfast/a.py", source) == [(1, "odd"), (4, "odd"), (4, "odd"), (5, "odd")]


def test_of_a_test_only_the_docstrings_are_read(found):
    source = '"""a module\n\nodd\n"""\n\ndef odd():\n    """odd"""\n    say("an odd message")  # odd\n'
    assert found("tests/a.py", source) == [(3, "odd"), (7, "odd")]


def test_some_turns_are_found_in_pages_alone(found):
    assert found("docs/a.md", "What holds. And what else.") == [(1, "What")]
    assert found("tests/a.py", '"""What holds."""') == []


def test_of_the_changelog_the_newest_section_is_read(found):
    assert found("CHANGELOG.md", "# Odd\n\n## [2]\n\nodd\n\n## [1]\n\nodd\n") == [(1, "Odd"), (5, "odd")]


def test_of_other_files_the_comments_are_read(found):
    assert found("Makefile", "odd: odd ## odd\n\todd\n") == [(1, "odd")]


def test_an_allowance_is_for_one_file_and_is_reported_where_nothing_needs_it(words, tmp_path, monkeypatch, capsys):
    for name in ("a.md", "b.md", "c.md"):
        (tmp_path / name).write_text("odd\n" if name != "c.md" else "even\n")
    monkeypatch.setattr(words, "ROOT", tmp_path)
    monkeypatch.setattr(words, "LISTS", {**LISTS, "allowed": {"a.md": {"odd": "a name"}, "c.md": {"odd": "a name"}}})
    assert words.main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "b.md:1: odd → even",
        "docs/words.toml: c.md: odd → nothing needs this allowance",
    ]
    assert words.main(["a.md"]) == 0
