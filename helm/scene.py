"""Play the scene of the dashboard's picture and draw it: ``python helm/scene.py [MINUTES] > docs/dashboard.svg``.

As root, with Debian's prometheus. A daemon with its own sockets and directories enforces rules for processes that this
script starts: web servers, batch jobs that come and go, and an importer that a rule may not move. Another program
changes a value, a job fills a small memory group, and the configuration is invalid for a while. All groups are below
``/holdfast-test-scene-PID``, and everything ends with the script.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from picture import asked, picture

SERVICE = Path(__file__).parents[1] / "service"
PLACEMENT, PODS = "io.holdfast.placement.v1.rules", "io.holdfast.pods.v1.directory"
CGROUPS = Path("/sys/fs/cgroup")
V1 = (CGROUPS / "memory").exists()
TREE = CGROUPS / "memory" if V1 else CGROUPS
LIMIT = "memory.limit_in_bytes" if V1 else "memory.max"
STEP_S = 5
START_S = 600  # of a machine that other work keeps busy


def main() -> int:
    """Play the scene for some minutes; the picture goes to stdout."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 5
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hf-", dir="/tmp")))
        group = stack.enter_context(limited_group())
        scene = Scene(folder, group, stack)
        base = scene.start()
        end = time.monotonic() + minutes * 60
        step = 0
        while time.monotonic() < end:
            scene.step(step, done=1 - (end - time.monotonic()) / (minutes * 60))
            step += 1
            time.sleep(STEP_S)
        scraped(base)  # not between two scrapes of a machine that other work keeps busy
        sys.stdout.write(picture(base, minutes))
    return 0


@contextmanager
def limited_group() -> Iterator[Path]:
    """A memory group with a limit; it is removed when its processes are gone."""
    group = TREE / f"holdfast-test-scene-{os.getpid()}"
    group.mkdir()
    (group / LIMIT).write_text(str(48 << 20))
    try:
        yield group
    finally:
        for _ in range(100):
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


class Scene:
    """The daemon, a Prometheus that scrapes it, and the processes of the story. ``stack`` ends all of them."""

    def __init__(self, folder: Path, group: Path, stack: ExitStack) -> None:
        self.folder, self.group, self.stack = folder, group, stack
        self.metrics, self.prometheus = free_port(), free_port()
        self.config = folder / "config.yaml"
        self.environ = {**os.environ, "PYTHONPATH": str(SERVICE), "HOLDFAST_ADDRESS": f"{folder}/s.sock"}
        self.servers: list[subprocess.Popen[bytes]] = []

    def start(self) -> str:
        """Start everything that lasts; Prometheus's address, once it has scraped."""
        self.write_config()
        self.run([sys.executable, "-m", "holdfast", "run", "-c", str(self.config)])
        scrape = {
            "job_name": "holdfast",
            "scrape_interval": "2s",
            "static_configs": [{"targets": [f"127.0.0.1:{self.metrics}"], "labels": {"node": "node-1"}}],
        }
        (self.folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))  # JSON is YAML
        self.run(
            [
                *("prometheus", f"--config.file={self.folder}/prometheus.yml"),
                *(f"--storage.tsdb.path={self.folder}/tsdb", f"--web.listen-address=127.0.0.1:{self.prometheus}"),
            ]
        )
        base = f"http://127.0.0.1:{self.prometheus}"
        scraped(base)
        self.servers = [self.program("web-server", "100000") for _ in range(12)]
        self.inside("importer", "sleep", "100000")
        return base

    def step(self, number: int, done: float) -> None:
        """Play one step; ``done`` is the share of the scene that is over."""
        for _ in range(2):
            self.program("batch-job", str(4 * STEP_S))
        if number % 3 == 2:
            oldest = self.servers.pop(0)
            oldest.terminate()
            self.servers.append(self.program("web-server", "100000"))
        if number % 4 == 3:
            with suppress(OSError):
                Path(f"/proc/{self.servers[-1].pid}/oom_score_adj").write_text("50")
            self.run([sys.executable, "-m", "holdfast", "ps"])
        if number % 12 == 6:
            self.inside("report", "tail", "/dev/zero")
        self.write_config(broken=0.6 < done < 0.75)

    def write_config(self, *, broken: bool = False) -> None:
        """Write the daemon's file, if it changes."""
        rules = [
            {"name": "web", "match": {"comm": "web-server"}, "oom_score_adj": {"at_least": 100}},
            {"name": "batch", "match": {"comm": "batch-job"}, "oom_score_adj": {"at_least": 800}},
            {"name": "reports", "match": {"comm": "report"}, "oom_score_adj": {"at_least": 900}},
            {"name": "importer", "match": {"comm": "importer"}, "cgroup": {"path": f"/{self.group.name}-other"}},
        ]
        section = {"dry_run": False, "builtin_rules": "none", "rescan": "10s", "rules": rules}
        config = {
            "root": f"{self.folder}/root",
            "state": f"{self.folder}/state",
            "grpc": {"address": f"{self.folder}/s.sock"},
            "metrics": {"address": f"127.0.0.1:{self.metrics}"},
            "web": {"address": ""},
            "plugins": {
                PLACEMENT: section | ({"rulez": []} if broken else {}),
                PODS: {"cri": {"enabled": False}},  # the picture is of the scene, not of the machine
            },
        }
        text = json.dumps(config)
        if not self.config.exists() or self.config.read_text() != text:
            self.config.write_text(text)

    def inside(self, name: str, program: str, *arguments: str) -> None:
        """Start a program of this name in the limited group."""
        enter = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
        self.run(["sh", "-c", enter, str(self.group), str(self.copy(name, program)), *arguments])

    def program(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a ``sleep`` of this name."""
        return self.run([str(self.copy(name, "sleep")), *arguments])

    def copy(self, name: str, program: str) -> Path:
        """A program under another name: the kernel takes a process's name from its file."""
        path = self.folder / name
        if not path.exists():
            shutil.copy(shutil.which(program) or program, path)
        return path

    def run(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command that ends with the scene."""
        process = subprocess.Popen(
            command, env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.stack.callback(ended, process)
        return process


def scraped(base: str) -> None:
    """Wait until Prometheus has scraped a daemon whose engine works."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            if asked(base, "query", query="holdfast_placement_engine_up == 1"):
                return
        time.sleep(1)
    raise SystemExit("helm/scene.py: no daemon was scraped")


def ended(process: subprocess.Popen[bytes]) -> None:
    """Have a process end, and wait for it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
