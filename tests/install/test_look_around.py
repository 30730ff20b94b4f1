"""`make run` of README.md and the session of docs/framework.md after it, as they stand there, in a fresh clone."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.install.machine import PATIENCE_S
from tests.install.pages import Block, block
from tests.needs import BIN, peer

pytestmark = [
    peer("make", "busybox", "ctr", "grpcurl", "curl", "promtool"),
    pytest.mark.root,
    pytest.mark.timeout(600),  # a dozen interpreters, each a second on an idle machine
]
LEFT_OUT = "…"
EXAMPLE = "12237"  # the README's process


@pytest.fixture
def with_environment(clone):
    """The first `make` makes ``.venv`` from a lock file, in a minute or two: here it is the one these tests run in."""
    made = clone / ".venv"
    made.mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (made / part).symlink_to(Path(sys.prefix, part))
    (made / ".installed").touch()
    yield clone
    shutil.rmtree(made)


def shown_but_not_said(session: Block, said: list[str]) -> list[str]:
    """Lines that the page has below its commands and no command printed."""
    printed = {line.rstrip() for text in said for line in text.splitlines()}
    shown = {line.rstrip() for lines in session.shown for line in lines} - {LEFT_OUT}
    return sorted(shown - printed)


def test_make_run_serves_and_the_standard_clients_are_answered(with_environment, machine):
    first = block("README.md", "make run")
    daemon = machine.start(first.script, with_environment)
    hints = [line for line in first.shown[0] if line.startswith("  .venv/bin/holdfast")]
    assert len(hints) == 3
    for hint in hints:
        words = [r"\d+" if word == EXAMPLE else re.escape(word) for word in hint.split()]
        printed = daemon.line(rf"^  {' +'.join(words)}$", within_s=PATIENCE_S)
        assert machine.run(printed.split("  ")[1], with_environment)

    session = block("docs/framework.md", "ctr -a /run/holdfast/holdfast.sock")
    path = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    said = [machine.run(command, with_environment, path) for command in session.commands]
    assert shown_but_not_said(session, said) == []
    daemon.send(signal.SIGTERM)
    daemon.line('msg="holdfast stopped"')
    daemon.end()
