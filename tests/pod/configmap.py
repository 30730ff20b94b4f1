"""A mounted ConfigMap, as the kubelet keeps it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path


class ConfigMap:
    """Files are links into ``..data``, which is a link that an update replaces."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()
        folder.mkdir()
        (folder / "config.yaml").symlink_to("..data/config.yaml")

    def update(self, text: str) -> None:
        """As the kubelet's atomic writer does it: new folder, new link, rename, old folder away."""
        link = self._folder / "..data"
        old = self._folder / os.readlink(link) if link.is_symlink() else None
        fresh = self._folder / f"..2026_01_01_00_00_00.{next(self._numbers)}"
        fresh.mkdir()
        (fresh / "config.yaml").write_text(text)
        temporary = self._folder / "..data_tmp"
        temporary.symlink_to(fresh.name)
        temporary.rename(link)
        if old is not None:
            (old / "config.yaml").unlink()
            old.rmdir()
