"""The sessions of docs/placement.md and docs/troubleshooting.md: each command runs, and prints in the form they show.

The sessions were recorded on a machine of their own, so names, numbers and rows are others here: the heads of tables,
the labels and the sentences are compared.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from holdfast.cli.main import call

from tests.install.pages import block, blocks, form
from tests.integration.test_placement import daemon, program, rule_of, wait_for  # noqa: F401 (fixtures)
from tests.running import until

pytestmark = pytest.mark.root
PAGE = "docs/placement.md"
IMPORT = "rules import"
SESSION = [
    step
    for one in blocks(PAGE)
    if one.shown and IMPORT not in one.script
    for step in zip(one.commands, one.shown, strict=True)
]
#: Elsewhere: a kill has its own tests, and events go on until they are interrupted.
LEFT_OUT = ("holdfast kills", "holdfast events", "holdfast victims --cgroup")
RULES = ("batch-first-to-die", "nightly-reports", "container-runtime", "tested")


class Node:
    """A daemon with a rule for one process, first as a dry run."""

    def __init__(self, daemon, program, pid):  # noqa: F811
        self.daemon, self.program, self.pid = daemon, program, pid

    def run(self, command):
        """Return what a command of the page prints, for this process."""
        words = [re.sub(r"^(188|22[56]|414|PID)$", str(self.pid), word) for word in shlex.split(command)[1:]]
        words = ["750" if word == "-500" else word for word in words]  # a test need not have the capability
        done = self.daemon.command(*words, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def enforce(self):
        if self.daemon.section["dry_run"]:
            reports = self.daemon.watch()
            self.daemon.write(dry_run=False)
            wait_for(reports, "held", self.pid)


@pytest.fixture
def node(daemon, program, sleeper):  # noqa: F811
    other = {"name": "other", "match": {"comm": "no-such-program"}, "oom_score_adj": 800}
    daemon.section |= {"dry_run": True, "rules": [other, rule_of(program, reason="it can be run again")]}
    daemon.start()
    return Node(daemon, program, sleeper(str(program), "600").pid)


def test_every_command_of_the_session_prints_what_the_page_shows(node, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (rules,) = ["\n".join(shown) for command, shown in SESSION if command == "cat mine.yaml"]
    (tmp_path / "mine.yaml").write_text(rules.replace("/usr/local/bin/nightly-report", str(node.program)))
    value = Path(f"/proc/{node.pid}/oom_score_adj")
    compared = 0
    for command, shown in SESSION:
        if command.startswith("echo 0 > /proc/"):
            value.write_text("0")
        elif command.startswith("cat /proc/") and command.endswith("oom_score_adj"):
            expected = shown[0].replace("-999", "700").replace("800", "700")
            until(lambda expected=expected: value.read_text().strip() == expected)
        if not command.startswith("holdfast ") or command.startswith(LEFT_OUT):
            continue
        if command == "holdfast ps":
            node.enforce()
        whole = command.removesuffix(" | tail -3")
        printed = "\n".join(node.run(whole).splitlines()[-3 if whole != command else 0 :])
        told = form("\n".join(shown), RULES, ("nightly-report", "containerd"))
        missing = told.without(form(printed, RULES, (node.program.name,)))
        assert missing == [], f"{command}\n{printed}"
        compared += 1
    assert compared == 14


def test_the_rules_of_other_tools_are_imported_and_previewed(node, tmp_path, capsys):
    folder = tmp_path / "ananicy.d"
    folder.mkdir()
    (folder / "a.rules").write_text(f'{{"name": "{node.program.name}", "oom_score_adj": 600}}\n')
    (tmp_path / "cgrules.conf").write_text(f"*:{node.program.name} memory batch/\n")
    commands = block(PAGE, "rules import ananicy").commands
    assert [one.partition(" /")[0] for one in commands[:2]] == [
        f"holdfast rules import {x}" for x in ("ananicy", "cgrules")
    ]
    for command in commands[:2]:
        words, _, file = command.replace("/etc/", f"{tmp_path}/").partition(" > ")
        assert call(shlex.split(words)[1:]) == 0
        (tmp_path / file).write_text(capsys.readouterr().out)
        printed = node.run(commands[2].replace("mine.yaml", str(tmp_path / file)))
        assert f"{node.pid} " in printed, printed


def test_the_three_commands_of_troubleshooting_answer(node):
    script = block("docs/troubleshooting.md", "holdfast explain PID").script.splitlines()
    plugins, explained, preview = (node.run(command) for command in script)
    assert "io.holdfast.placement.v1" in plugins
    assert explained.startswith(f"process {node.pid} ({node.program.name})")
    assert preview.endswith("Nothing was written.\n")
