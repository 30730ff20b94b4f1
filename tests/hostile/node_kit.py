"""A daemon with rules, and what an ordinary user starts beside it: programs, names and groups of its own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from holdfast.cgroups import Tree

from tests.integration.conftest import until_asleep
from tests.running import PATIENCE_S, Running, adj_of, until

NOBODY = 65534
SERVICE = Path(__file__).parents[2] / "service"
RULES = "io.holdfast.placement.v1.rules"
#: Runs the commands of its argument, and prints what each printed; a failure is the end.
CLIENT = """
import contextlib, io, json, sys
from holdfast.cli.main import call
printed = []
for words in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if call(words):
            sys.exit(f"failed: {words}")
    printed.append(out.getvalue())
print(json.dumps(printed))
"""
#: Colours, and where the cursor goes, of ECMA-48: what a table or a live view is made of.
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ABCDGHJKhlm]")
#: The rule of the witness, which comes last: once it holds, the engine has seen all that was there before.
WITNESS, WITNESS_ADJ = "hf-witness", 321


class Daemon:
    """A daemon on the unix socket alone; ``rules`` are enforced."""

    def __init__(self, folder: Path, running: Running) -> None:
        self.folder, self.running = folder, running
        self.address = f"{folder}/h.sock"

    def client(self, *commands: Sequence[str]) -> dict[str, str]:
        """Return what client commands print, all of one process; each must succeed."""
        asked = [[*words, "-a", self.address, "--timeout", "60"] for words in commands]
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, json.dumps(asked)],
            env={**os.environ, "PYTHONPATH": str(SERVICE), "COLUMNS": "400"},
            capture_output=True,
            check=False,
            timeout=PATIENCE_S * 4,
        )
        assert done.returncode == 0, f"{done.stderr.decode(errors='replace')}\n{self.running.said[-3000:]}"
        printed: list[str] = json.loads(done.stdout)
        return {" ".join(words): text for words, text in zip(commands, printed, strict=True)}

    def answers(self, *pids: int) -> dict[str, str]:
        """Return what every command says while these processes are there."""
        commands = [["health"], ["ps"], ["preview"], ["victims"], ["top", "--once"]]
        objects = [[words, "-o", "json"] for words in ("ps", "victims", "preview")]
        said = self.client(*commands, *objects, *(["explain", str(pid)] for pid in pids))
        for words in objects:
            json.loads(said.pop(" ".join(words)))
        return said

    def on_terminal(self, *words: str) -> str:
        """Return what a client command prints on a terminal, without the sequences that colour text or move the
        cursor; it must succeed.
        """
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 60, 400, 0, 0))
        with subprocess.Popen(
            [sys.executable, "-m", "holdfast", *words, "-a", self.address, "--timeout", "60"],
            env={**os.environ, "PYTHONPATH": str(SERVICE), "TERM": "xterm-256color"},
            **dict.fromkeys(("stdin", "stdout", "stderr"), its),
        ) as command:
            os.close(its)
            printed = b""
            with open(ours, "rb", buffering=0) as terminal, suppress(OSError):  # EIO: its last user has ended
                while part := terminal.read(1 << 16):
                    printed += part
        text = printed.decode().replace("\r\n", "\n")
        assert command.returncode == 0, f"{text}\n{self.running.said[-3000:]}"
        return _SEQUENCE.sub("", text)

    def is_well(self) -> None:
        """Still there, and nothing it said is more than a warning."""
        assert not self.running.ended(), self.running.said[-3000:]
        assert [line for line in self.running.err if "level=error" in line or "level=fatal" in line] == []


@contextmanager
def daemon(folder: Path, *rules: dict[str, Any]) -> Iterator[Daemon]:
    witness = {"name": "witness", "match": {"comm": WITNESS}, "oom_score_adj": WITNESS_ADJ}
    section = {"dry_run": False, "builtin_rules": "none", "rescan": "1s", "rules": [*rules, witness]}
    config = {
        "root": f"{folder}/root",
        "state": f"{folder}/state",
        "grpc": {"address": f"{folder}/h.sock"},
        "metrics": {"address": ""},
        "web": {"address": ""},
        "plugins": {RULES: section},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "holdfast", "run", "-c", f"{folder}/config.yaml"]
    with Running(command, env={"PYTHONPATH": str(SERVICE)}) as running:
        running.line("successfully booted")
        yield Daemon(folder, running)


class Stranger:
    """Starts programs as uid 65534, in a group that was delegated to it."""

    def __init__(self, folder: Path, tree: Tree, group: str, stack: ExitStack) -> None:
        self.tree = tree
        self.group, self._folder, self._stack = group, folder, stack
        self.tree.create(group)
        os.chown(self.tree.at(group), NOBODY, NOBODY)
        os.chown(f"{self.tree.at(group)}/cgroup.procs", NOBODY, NOBODY)

    def program(self, name: bytes) -> bytes:
        """A copy of sleep(1) under any name."""
        path = os.fsencode(self._folder) + b"/" + name
        if not os.path.exists(path):
            shutil.copy(os.fsencode(shutil.which("sleep") or "/bin/sleep"), path)
        return path

    def start(self, program: bytes, *, within: bytes = b"", argument: str = "") -> subprocess.Popen[bytes]:
        """Run it as that user, in the group ``within`` below the delegated one, which that user makes."""
        own = os.fsencode(self.tree.at(self.group))

        def become() -> None:
            with open(own + b"/cgroup.procs", "wb", buffering=0) as file:  # as root: the login puts a user there
                file.write(b"0")
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            if within:
                os.makedirs(own + b"/" + within, exist_ok=True)
                with open(own + b"/" + within + b"/cgroup.procs", "wb", buffering=0) as file:
                    file.write(b"0")

        words: Sequence[str | bytes] = [argument or program, "600"]
        process = subprocess.Popen(words, executable=program, preexec_fn=become, stdin=subprocess.DEVNULL)  # noqa: PLW1509
        self._stack.callback(_end, process)
        until_asleep(process.pid)
        return process

    def witnessed(self) -> None:
        """Return once the engine has enforced the rule of a process that came after all others."""
        witness = subprocess.Popen(["sleep", "600"], executable=self.program(WITNESS.encode()))
        self._stack.callback(_end, witness)
        until(lambda: adj_of(witness.pid) == WITNESS_ADJ, "the witness has its value")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
