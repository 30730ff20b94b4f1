"""A whole daemon whose life is under attack, and how it says that it is."""

from __future__ import annotations

import os
import re
import shutil
import sys
import urllib.request
from pathlib import Path

import yaml

from tests.hostile.kit import port_in
from tests.running import PATIENCE_S, Running, adj_of  # noqa: F401 (adj_of: for the tests)

PLACEMENT = "io.holdfast.placement.v1.rules"
PODS = "io.holdfast.pods.v1.directory"
SERVICE = "holdfast.placement.v1.Placement"
ENVIRON = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class Daemon:
    """Started by `boot`; `said` and `ended` are its process's."""

    def __init__(self, folder: Path, running: Running) -> None:
        self.folder, self.running, self.pid = folder, running, running.pid
        self.address = f"{folder}/s.sock"
        self.port = port_in(running.line('listener="metrics endpoint"'))

    def ask(self, *words: str) -> tuple[int, str]:
        """Return a command's exit code and all its lines."""
        command = [sys.executable, "-m", "holdfast", *words, "-a", self.address, "--timeout", str(2 * PATIENCE_S)]
        with Running(command, env=ENVIRON) as asked:
            status = asked.end(3 * PATIENCE_S)
            return status, "\n".join([*asked.out, *asked.err])

    def metric(self, name: str) -> float:
        """The sum of a family's samples."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE_S) as answer:
            page = answer.read().decode()
        found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page, re.MULTILINE)
        assert found, f"no {name}"
        return sum(map(float, found))


def configuration(folder: Path, rules: list[dict], **sections: dict) -> Path:
    """A file with these rules, and more of plugins' sections by URI; the kernel chooses the port of the metrics."""
    placement = {
        "builtin_rules": "none",
        "dry_run": False,
        "rescan": "1s",
        "rules": rules,
        **sections.pop("placement", {}),
    }
    path = folder / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "root": f"{folder}/root",
                "state": f"{folder}/state",
                "grpc": {"address": f"{folder}/s.sock"},
                "metrics": {"address": "127.0.0.1:0"},
                "web": {"address": ""},
                "plugins": {PLACEMENT: placement, **sections},
            }
        )
    )
    return path


def program(folder: Path, name: str) -> Path:
    """A copy of sleep(1) under a name of its own."""
    path = folder / name
    if not path.exists():
        shutil.copy(shutil.which("sleep") or "/bin/sleep", path)
    return path
