"""Every command whose output cannot be written: one line or none and the right exit code, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from holdfast.cli.commands import COMMANDS

from tests.peers.daemon import ENVIRON, HOLDFAST, holdfast

ADDRESS = "@ADDRESS@"
#: A way to call each command in which it prints something.
PRINTS: dict[str, list[str]] = {
    "run": ["--help"],
    "config": ["default"],
    "version": ["-a", ADDRESS],
    "health": ["-a", ADDRESS],
    "plugins": ["ls", "-a", ADDRESS],
    "events": ["--help"],
    "publish": ["--help"],
    "rules": ["-a", ADDRESS],
    "status": ["-a", ADDRESS],
    "ps": ["-a", ADDRESS],
    "explain": ["1", "-a", ADDRESS],
    "preview": ["-a", ADDRESS],
    "victims": ["-a", ADDRESS],
    "kills": ["-a", ADDRESS],
    "top": ["--once", "-a", ADDRESS],
    "hold": ["--help"],
    "release": ["--help"],
    "restore": ["--help"],
    "bundle": ["ls", "-a", ADDRESS],
    "new-plugin": ["--help"],
    "options": [],
    "completion": ["bash"],
}
#: What a number cannot be, and a name that is no text.
REFUSED = (
    ["kills", "-l", "-1"],
    ["kills", "-l", "0"],
    ["kills", "-l", "4294967296"],
    ["victims", "--limit", "-5"],
    ["run", "-l", "-5"],
    ["run", "--log-level=-1"],
    ["explain", "0"],
    ["health", b"\xff"],
    ["config", "check", b"/tmp/\xff"],
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("d")
    sections = {"io.holdfast.placement.v1.rules": {"builtin_rules": "none"}}
    own = {"root": f"{folder}/r", "state": f"{folder}/s", "grpc": {"address": f"{folder}/s.sock"}}
    (folder / "c.yaml").write_text(
        json.dumps({**own, "metrics": {"address": ""}, "web": {"address": ""}, "plugins": sections})
    )
    with holdfast(folder, folder / "c.yaml") as running:
        yield running.ready()


def called(words, daemon, **streams):
    given = [daemon.address if word == ADDRESS else word for word in words]
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN)}  # as Python leaves it to children
    return subprocess.run([*HOLDFAST, *given], env={**os.environ, **ENVIRON}, check=False, **ignoring, **streams)


def test_every_command_is_here():
    assert PRINTS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("command", PRINTS)
def test_a_full_disk_is_one_line_and_exit_1(command, daemon):
    with open("/dev/full", "wb") as full:
        done = called([command, *PRINTS[command]], daemon, stdout=full, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (1, b"holdfast: write error: No space left on device\n")
        assert called([command, *PRINTS[command]], daemon, stdout=full, stderr=full).returncode == 1


@pytest.mark.parametrize("command", PRINTS)
def test_a_reader_who_left_ends_a_command_in_silence(command, daemon):
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as pipe:
        done = called([command, *PRINTS[command]], daemon, stdout=pipe, stderr=subprocess.PIPE)
    # `run` keeps SIGPIPE ignored, for the daemon; click ends its help with 1
    assert (done.returncode, done.stderr) == (1 if command == "run" else -signal.SIGPIPE, b"")


@pytest.mark.parametrize("words", REFUSED, ids=str)
def test_what_is_no_such_number_or_text_is_refused_without_a_traceback(words, daemon):
    done = called(words, daemon, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    last = done.stderr.decode().splitlines()[-1]
    assert (done.returncode in (1, 2, 3), "Traceback" in done.stderr.decode()) == (True, False)
    assert last.startswith(("holdfast: ", "Error: "))


def test_a_file_that_cannot_be_read_is_one_line(daemon, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    done = called(
        ["rules", "import", "cgrules", "/proc/self/mem"], daemon, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert done.stderr.startswith(b"holdfast: /proc/self/mem: ") or done.stderr.startswith(b"holdfast: write error: ")


def test_names_that_are_no_text_are_printed_escaped(daemon):
    named = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*HOLDFAST, "config", "check", b"/tmp/\xff\xc3\xa9"],
        env={**os.environ, **ENVIRON, **named},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count(b"\n"), b"Traceback" in done.stderr) == (1, 1, False)
