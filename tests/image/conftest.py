"""The image as the Dockerfile makes it, and its files in a folder for runc.

No registry is asked: the base is Debian's Python from a package mirror. Base and layers are kept under .cache/.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chart.kit import REPOSITORY
from tests.needs import path_of
from tests.pod.conftest import node_with, victim  # noqa: F401 (fixtures)

CACHE = REPOSITORY / ".cache" / "image"
BUILD_S = 600  # seconds; pip downloads some 30 MB
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


def debian() -> None:
    """Make the base image, once."""
    tar = CACHE / "base" / "base.tar"
    if not tar.exists():
        tar.parent.mkdir(parents=True, exist_ok=True)
        part = tar.with_suffix(".part.tar")
        include = "--include=python3,python3-venv,ca-certificates"
        release = platform.freedesktop_os_release()["VERSION_CODENAME"]  # ours: its keys and mirrors are here
        command = [path_of("mmdebstrap"), "--quiet", "--variant=minbase", include, release, part]
        subprocess.run(command, check=True, timeout=BUILD_S, capture_output=True)
        part.rename(tar)
        (tar.parent / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
    if not buildah("images", "--quiet", "--filter", f"reference={BASE}"):
        buildah("bud", "--isolation", "chroot", "--tag", BASE, tar.parent)


@pytest.fixture(scope="session")
def build() -> Callable[..., str]:
    """Builds the Dockerfile; gives the image's digest."""
    debian()

    def one(tag: str, *options: str) -> str:
        bases = ["--build-arg", f"PYTHON_IMAGE={BASE}", "--build-arg", f"DISTROLESS_IMAGE={BASE}"]
        certificates = ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
        fixed = ["--isolation", "chroot", "--pull-never", "--layers", "--timestamp", "0"]
        buildah(
            "bud",
            *fixed,
            "--build-arg",
            "REVISION=test",
            *bases,
            *certificates,
            *options,
            "--tag",
            f"localhost/holdfast-test:{tag}",
            ".",
        )
        return buildah(
            "inspect", "--type", "image", "--format", "{{.FromImageDigest}}", f"localhost/holdfast-test:{tag}"
        )

    return one


@pytest.fixture(scope="session")
def digest(build: Callable[..., str]) -> str:
    """The image, built unless nothing changed since the last time."""
    return build("kept")


@pytest.fixture(scope="session")
def rootfs(digest: str) -> Path:
    """The image's files, as a runtime unpacks them."""
    folder = CACHE / "rootfs"
    stamp = CACHE / "rootfs.digest"
    if not folder.exists() or not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(folder, ignore_errors=True)
        container = buildah("from", "--pull-never", "localhost/holdfast-test:kept")
        try:
            mounted = buildah("mount", container)
            subprocess.run(["cp", "--archive", mounted, folder], check=True, timeout=BUILD_S)
        finally:
            buildah("rm", container)
        stamp.write_text(digest)
    return folder
