"""Build of the image: by buildah, from the Dockerfile.

No registry is needed: the base is Debian's Python from a package mirror. Base and layers are kept under .cache/.
"""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from tests.chart.kit import REPOSITORY
from tests.needs import path_of

CACHE = REPOSITORY / ".cache" / "image"
BUILD_S = 1200  # seconds; pip downloads some 30 MB, and a busy machine takes ten minutes for the base
BASE = "localhost/holdfast-test-base"


def driver() -> str:
    """An overlay does not lie on an overlay: in a container, files are copied instead."""
    CACHE.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["stat", "-f", "-c", "%T", CACHE], capture_output=True, text=True, check=True)
    return "vfs" if done.stdout.strip() == "overlayfs" else "overlay"


def buildah(*words: str | Path) -> str:
    """Run buildah on a storage of our own."""
    where = ["--storage-driver", driver(), "--root", CACHE / "storage", "--runroot", CACHE / "run"]
    done = subprocess.run(
        [path_of("buildah"), *where, *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.strip()


def debian_tar() -> Path:
    """Make a Debian with Python and nothing else, once; a tar archive of its root."""
    tar = CACHE / "base" / "base.tar"
    if not tar.exists():
        tar.parent.mkdir(parents=True, exist_ok=True)
        part = tar.with_suffix(".part.tar")
        include = "--include=python3,python3-venv,ca-certificates"
        release = platform.freedesktop_os_release()["VERSION_CODENAME"]  # ours: its keys and mirrors are here
        command = [path_of("mmdebstrap"), "--quiet", "--variant=minbase", include, release, part]
        subprocess.run(command, check=True, timeout=BUILD_S, capture_output=True)
        part.rename(tar)
    return tar


def debian() -> None:
    """Make the base image, once."""
    tar = debian_tar()
    (tar.parent / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
    if not buildah("images", "--quiet", "--filter", f"reference={BASE}"):
        buildah("bud", "--isolation", "chroot", "--tag", BASE, tar.parent)


def build_image(tag: str, *options: str) -> str:
    """Build the Dockerfile, unless nothing changed since the last time; the image's digest."""
    debian()
    bases = ["--build-arg", f"PYTHON_IMAGE={BASE}", "--build-arg", f"DISTROLESS_IMAGE={BASE}"]
    certificates = ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
    fixed = ["--isolation", "chroot", "--pull-never", "--layers", "--timestamp", "0", "--build-arg", "REVISION=test"]
    name = f"localhost/holdfast-test:{tag}"
    buildah("bud", *fixed, *bases, *certificates, *options, "--tag", name, ".")
    return buildah("inspect", "--type", "image", "--format", "{{.FromImageDigest}}", name)
