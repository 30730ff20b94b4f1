"""Files of the current bundle elsewhere on the node: links to ``bundles/current/files/…``, so that all change at once.

    /etc/modprobe.d/node.conf -> <root>/bundles/current/files/modprobe/node.conf

Links are made only in directories that the configuration allows, never over a file that is not such a link. They are
made and removed after the swap of ``current``, as the kubelet does it; a repetition changes nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from holdfast import log
from holdfast.bundle.manifest import Contents, File
from holdfast.errors import FailedPrecondition, PermissionDenied

LOG = log.named(__name__)


class Links:
    """Links into ``current`` of one node; ``allowed`` are the directories that may have links, and all below."""

    def __init__(self, root: Path, allowed: Iterable[str] = ()) -> None:
        self._into = f"{root}/current/files/"
        self.allowed = tuple(allowed)

    def check(self, bundle: Contents) -> None:
        """Check that each file with a target may have its link.

        Raises:
            PermissionDenied: its directory is not allowed.
            FailedPrecondition: the directory is missing, others may write to it, or another file is in the place.
        """
        for file in bundle.files:
            if file.target:
                self._check(file)

    def settle(self, current: Contents | None, known: Iterable[Contents]) -> None:
        """Make the links of ``current``, remove links that only other bundles of ``known`` have. Never raises."""
        wanted = dict(self._of(current)) if current else {}
        for path, into in wanted.items():
            try:
                self._make(path, into)
            except (OSError, FailedPrecondition) as error:
                LOG.warning("cannot link a file of the bundle", path=path, error=error)
        for bundle in known:
            for path, _ in self._of(bundle):
                if path not in wanted and self._is_ours(path):
                    with suppress(OSError):
                        path.unlink()

    def _of(self, bundle: Contents) -> Iterator[tuple[Path, str]]:
        for file in bundle.files:
            if file.target and self._is_allowed(file.target):
                yield Path(file.target, file.name), self._into + file.path

    def _check(self, file: File) -> None:
        path = Path(file.target, file.name)
        if not self._is_allowed(file.target):
            allowed = ", ".join(self.allowed) or "none"
            raise PermissionDenied(f"{file.path}: {file.target} is not among the allowed targets ({allowed})")
        if not os.path.isdir(file.target):
            raise FailedPrecondition(f"{file.path}: {file.target}: no such directory")
        if other := self._of_others(file.target):
            raise FailedPrecondition(
                f"{file.path}: {other}: others than root may write there and could lead the link elsewhere; "
                "chown root, chmod go-w"
            )
        if os.path.lexists(path) and not self._is_ours(path):
            raise FailedPrecondition(f"{file.path}: {path} exists and is no bundle's; move it away")

    def _make(self, path: Path, into: str) -> None:
        if self._is_ours(path) and os.readlink(path) == into:
            return
        if os.path.lexists(path) and not self._is_ours(path):
            raise FailedPrecondition("exists and is no bundle's; move it away")
        fresh = path.with_name(f".{path.name}.holdfast-new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(into)
        os.replace(fresh, path)

    def _is_allowed(self, target: str) -> bool:
        real = os.path.realpath(target)
        roots = [os.path.realpath(one) for one in self.allowed]
        return any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots)

    def _of_others(self, target: str) -> str:
        """The first directory or link on the way to ``target`` that others may exchange or write to; empty if none."""
        for path in (Path(target), Path(os.path.realpath(target))):  # a link is exchanged where it is
            for place in reversed((path, *path.parents)):
                about = os.lstat(place)
                if about.st_uid not in (0, os.geteuid()):
                    return str(place)
                sticky = about.st_mode & stat.S_ISVTX and place != path  # as /tmp: nothing of ours is removed there
                if about.st_mode & 0o022 and not sticky and not stat.S_ISLNK(about.st_mode):
                    return str(place)
        return ""

    def _is_ours(self, path: Path) -> bool:
        try:
            return os.readlink(path).startswith(self._into)
        except OSError:
            return False
