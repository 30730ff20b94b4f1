"""Tab completion as a real bash asks for it, and help that leaves nothing out."""

import subprocess
import sys

import pytest
from holdfast.cli.commands import COMMANDS
from holdfast.cli.main import call

from tests.peers.daemon import ENVIRON

ASK = """
source <(holdfast completion bash)
COMP_WORDS=(holdfast {words}) COMP_CWORD={last}
_holdfast_completion holdfast
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def completed(tmp_path):
    """Return what bash offers after these words and a tab."""
    command = tmp_path / "holdfast"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m holdfast "$@"\n')
    command.chmod(0o755)

    def ask(words: str) -> list[str]:
        script = ASK.format(words=words, last=len(words.split(" ")))
        environ = {**ENVIRON, "PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    return ask


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("p", ["plugins", "publish", "ps", "preview"]),
        ("config d", ["default", "dump"]),
        ("plugins ls --det", ["--detailed"]),
        ("version -o ''", ["table", "json", "yaml"]),
        ("run --log", ["--log-level"]),
    ],
)
def test_bash_completes_commands_options_and_values(completed, words, offered):
    assert sorted(completed(words)) == sorted(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell, capsys):
    assert call(["completion", shell]) == 0
    assert "_HOLDFAST_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_no_line_of_a_commands_help_is_cut_off(command, capsys):
    assert call([*command.split(), "--help"]) == 0
    usage, *lines = capsys.readouterr().out.splitlines()
    assert usage.startswith("Usage: holdfast")
    assert [line for line in lines if line.endswith("...")] == []
