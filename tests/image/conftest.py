"""The image as the Dockerfile makes it, and its files in a folder for runc."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image.build import BUILD_S, CACHE, build_image, buildah
from tests.pod.conftest import node_with, victim  # noqa: F401 (fixtures)


@pytest.fixture(scope="session")
def build() -> Callable[..., str]:
    """Builds the Dockerfile; gives the image's digest."""
    return build_image


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
