"""A machine on which nothing of ours was installed yet: this one, with fresh folders where ours would lie.

Its mounts are its own, so what a page says can be typed as it stands there: ``/opt/holdfast`` is a folder of the test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.install.pages import REPOSITORY
from tests.needs import path_of
from tests.running import Running

INSTALLED, KEPT = Path("/opt/holdfast"), Path("/var/lib/holdfast")
#: Under a name of the internet's: the registry that the pages name is here.
HOSTS = "127.0.0.1 localhost ghcr.io\n"
SETUP = f"""
mount --bind "$1{INSTALLED}" {INSTALLED}
mount --bind "$1{KEPT}" {KEPT}
if [ "$2" = alone ]; then
  "$3" ip link set lo up
  mount -t tmpfs none /run
  mount --bind "$1/hosts" /etc/hosts
fi
echo ready
exec tail -f /dev/null
"""
PATIENCE_S = 900.0  # pip downloads some 30 MB and builds; a busy machine took five minutes for it
Start = Callable[..., Running]


class Machine:
    """``alone``: with a network of its own, which is loopback and no more, and with a ``/run`` of its own."""

    def __init__(self, folder: Path, start: Start, *, alone: bool = True) -> None:
        self._start = start
        for place in (INSTALLED, KEPT):
            (folder / str(place).lstrip("/")).mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(HOSTS)
        apart = ["--net"] if alone else []
        command = ["unshare", "--mount", *apart, "--propagation", "private", "sh", "-e", "-c", SETUP, "sh", str(folder)]
        self._process = start([*command, "alone" if alone else "online", path_of("busybox") if alone else ""])
        self._process.line("^ready$")
        self._enter = ["nsenter", f"--target={self._process.pid}", "--mount", *apart, "--"]

    def command(self, script: str, folder: Path) -> list[str]:
        """To run a script there, where the folder is the current one."""
        return [*self._enter, "sh", "-c", 'cd "$0" && exec bash -euo pipefail -c "$1"', str(folder), script]

    def start(self, script: str, folder: Path, env: Mapping[str, str] | None = None) -> Running:
        """Start it there."""
        return self._start(self.command(script, folder), env=env)

    def run(self, script: str, folder: Path, env: Mapping[str, str] | None = None) -> str:
        """Return what it prints; it must end well."""
        done = subprocess.run(
            self.command(script, folder),
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def places() -> Iterator[None]:
    """The folders that others are mounted over exist as long as this, and no longer than before."""
    made = []
    for place in (INSTALLED, KEPT):
        with contextlib.suppress(FileExistsError):
            place.mkdir()
            made.append(place)
    try:
        yield
    finally:
        for place in made:
            with contextlib.suppress(OSError):  # somebody else's meanwhile
                place.rmdir()


def checkout(folder: Path) -> Path:
    """A fresh clone of what is being tested, changes that are not committed included."""
    left_out = shutil.ignore_patterns(".git", ".venv", ".*cache", ".hypothesis", ".libraries", "bin", "__pycache__")
    return Path(shutil.copytree(REPOSITORY, folder, ignore=left_out))
