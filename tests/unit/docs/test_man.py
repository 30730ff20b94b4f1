"""The manual pages: one for each command, as man(7) wants it."""

import importlib.util
import re
import subprocess
from pathlib import Path

import click
import pytest
from holdfast.cli.group import cli

from tests.needs import path_of, peer

SCRIPT = Path(__file__).parents[3] / "docs" / "man.py"
SPEC = importlib.util.spec_from_file_location("man", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
MAN = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MAN)
PAGES = dict(MAN.pages())


def names(group, above=("holdfast",)):
    yield f"{'-'.join(above)}.1"
    for name in group.list_commands(click.Context(group)) if isinstance(group, click.Group) else ():
        inner = group.get_command(click.Context(group), name)
        if not inner.hidden:
            yield from names(inner, (*above, name))


def test_every_command_has_its_page():
    assert sorted(PAGES) == sorted(names(cli))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_its_parts_and_sees_pages_that_there_are(name):
    text = PAGES[name]
    parts = re.findall(r"^\.SH (.*)$", text, re.MULTILINE)
    assert parts[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert parts[-2:] == ["EXIT STATUS", "SEE ALSO"]
    assert text.isascii()
    also = re.findall(r"^\.BR (\S+) \(1\)", text.partition(".SH SEE ALSO")[2], re.MULTILINE)
    assert {f"{each.replace(chr(92), '')}.1" for each in also} <= PAGES.keys()


def test_the_page_of_a_client_command_has_its_own_options_and_those_of_the_connection():
    page = PAGES["holdfast-ps.1"].replace("\\-", "-")
    assert all(option in page for option in ("-w, --watch", "--no-headers", "--address", "--tls-ca", "-h, --help"))


def test_a_text_is_no_request_and_its_hyphens_can_be_copied():
    assert MAN.escaped(".SH x") == "\\&.SH x"
    assert MAN.escaped("a\\b --c …") == "a\\eb \\-\\-c \\[u2026]"


@peer("groff")
def test_the_formatter_has_no_complaint(tmp_path):
    MAN.main(str(tmp_path))
    command = [path_of("groff"), "-man", "-Tutf8", "-ww", "-z", *sorted(map(str, tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
