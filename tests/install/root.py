"""A root directory of a fresh Debian: what is typed there sees no file of this machine, and nothing of ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.image.build import debian_tar
from tests.install.machine import PATIENCE_S
from tests.needs import path_of

#: Of the machine, so that pip reaches the package index as it does here.
BORROWED = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")
SETUP = """
root=$1 script=$2 busybox=$3; shift 3
if [ "$busybox" ]; then "$busybox" ip link set lo up; fi
mount -t proc none "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
for path in "$@"; do
  if [ -d "$path" ]; then mkdir -p "$root$path"; else mkdir -p "$root${path%/*}" && touch "$root$path"; fi
  mount --bind "$path" "$root$path"
done
exec chroot "$root" bash -euo pipefail -c "$script"
"""


class Root:
    """The directory of the root; ``shared`` are directories of the machine that are seen in it, too."""

    def __init__(self, folder: Path, *shared: Path) -> None:
        self.folder = folder
        self._borrowed = [path for path in map(str, (*BORROWED, *shared)) if Path(path).exists()]
        folder.mkdir(parents=True)
        subprocess.run(["tar", "--extract", "--file", debian_tar(), "--directory", folder], check=True)

    def run(self, script: str, *, online: bool = False, env: dict[str, str] | None = None) -> str:
        """Return what a script prints there; it must end well, and what it left running is killed.

        It has mounts and processes of its own, and without ``online`` a network that is loopback and no more.
        """
        apart = [] if online else ["--net"]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *apart, "--propagation", "private"]
        arguments = [self.folder, script, "" if online else path_of("busybox"), *self._borrowed]
        pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "http", "HTTP"))}
        done = subprocess.run(
            [*unshare, "sh", "-e", "-c", SETUP, "sh", *arguments],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **pip, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout
