"""The directories of bundles on this node. Everything here blocks: it runs on threads.

    bundles/sha256-<hex>/manifest.json     the manifest; its digest is the directory's name
                         files/<path>      the files
            current -> sha256-<hex>        as a ConfigMap's ..data: swapped by a rename
            history.json                   see `history`
            .new-<hex>/                    being written; removed at the next start

A directory gets its name when every byte in it is durable, and is never changed afterwards; ``current`` always points
to a complete one, also after a kill -9 between any two lines.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from holdfast.bundle.history import AppliedBundle, History, HistoryFile
from holdfast.bundle.links import Links
from holdfast.bundle.manifest import MAX_MANIFEST, Contents, File, contents
from holdfast.errors import FailedPrecondition, HoldfastError, NotFound, reason_of
from holdfast.store.content.ingest import disk, sync
from holdfast.store.digest import CANONICAL, complaint, of_bytes

CURRENT = "current"
_FILES, _MANIFEST = "files", "manifest.json"
_NEW = ".new-"


class BundleDir:
    """The bundles applied on this node. ``keep`` is the number of earlier ones kept for rollbacks."""

    def __init__(self, root: Path, links: Links, keep: int = 3) -> None:
        self.root = root
        self.keep = keep
        self._links = links
        self._journal = HistoryFile(root / "history.json")

    @property
    def history(self) -> History:
        """History of the bundles in force now and before."""
        return self._journal.now

    def open(self) -> None:
        """Create the directory, and finish or undo a change that a kill interrupted.

        Raises:
            HoldfastError: the history cannot be read.
        """
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._journal.load(self._linked())
        for aside in self.root.glob(f"{_NEW}old-*"):  # killed while a damaged directory was replaced
            if not (whole := self.root / aside.name.removeprefix(f"{_NEW}old-")).exists():
                os.replace(aside, whole)
        for path in self.root.glob(f"{_NEW}*"):
            shutil.rmtree(path, ignore_errors=True)
        current = self.history.current
        if current is not None and self._linked() != current.digest:  # moved by another program: the history decides
            self._swap(current.digest)
        self._relink()

    def read(self, digest: str) -> Contents:
        """Return the bundle from its directory, every file checked.

        Raises:
            NotFound: the directory does not exist.
            FailedPrecondition: its files do not match the digest.
        """
        folder = self._folder(digest)
        found = self.manifest(digest)
        for file in found.files:
            _check(folder / _FILES / file.path, file)
        return found

    def manifest(self, digest: str) -> Contents:
        """Return the bundle from its directory as `read` does, but check only the manifest."""
        try:
            with (self._folder(digest) / _MANIFEST).open("rb") as opened:
                text = opened.read(MAX_MANIFEST + 1)
        except OSError as error:
            raise NotFound(f"bundle {digest} on this node: {reason_of(error)}") from error
        if of_bytes(text) != digest:
            raise FailedPrecondition(f"bundle {digest}: manifest.json was changed; apply the bundle again")
        return contents(digest, text)

    def texts(self, digest: str) -> Iterator[tuple[str, str]]:
        """Yield path and text of each rules file of an applied bundle.

        Raises:
            NotFound, FailedPrecondition: as `read`.
        """
        for file in self.manifest(digest).rules:
            path = self._folder(digest) / _FILES / file.path
            _check(path, file)
            yield file.path, path.read_text("utf-8", "replace")

    def begin(self, bundle: Contents) -> Path:
        """Return an empty directory for a bundle's files; `write` each, then `finish`."""
        place = self.root / f"{_NEW}{bundle.digest.partition(':')[2]}"
        with disk("bundle"):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(mode=0o755)
            (place / _FILES).mkdir(mode=0o755)
            (place / _MANIFEST).write_bytes(bundle.text)
        return place

    def write(self, place: Path, file: File, data: bytes) -> None:
        """Write one whole file; `finish` checks its digest."""
        path = place / _FILES / file.path
        with disk("bundle"):
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with path.open("xb") as opened:
                opened.write(data)
                os.fchmod(opened.fileno(), file.mode)  # whatever the umask

    def finish(self, place: Path, bundle: Contents) -> None:
        """Check every file, make all durable, and give the directory its name.

        Raises:
            FailedPrecondition: a file does not match its digest.
        """
        for file in bundle.files:
            _check(place / _FILES / file.path, file)
        folder = self._folder(bundle.digest)
        with disk("bundle"):
            _sync_all(place)
            if folder.exists():  # damaged, or it would not be written again; `current` may dangle for this moment
                os.replace(folder, self.root / f"{_NEW}old-{folder.name}")
            os.replace(place, folder)
            sync(self.root)
        shutil.rmtree(self.root / f"{_NEW}old-{folder.name}", ignore_errors=True)

    def check_links(self, bundle: Contents) -> None:
        """Raise `HoldfastError` if a file's link could not be made."""
        self._links.check(bundle)

    def apply(self, entry: AppliedBundle) -> None:
        """Make a bundle that is in its directory the current one."""
        self._commit(self.history.after_applying(entry, self.keep))

    def rollback(self) -> None:
        """Make the previous bundle the current one.

        Raises:
            FailedPrecondition: there is none.
            NotFound: it is damaged.
        """
        coming = self.history.after_rollback()
        assert coming.current is not None
        found = self.read(coming.current.digest)
        self.check_links(found)
        self._commit(coming)

    def settle(self, pinned: Collection[str] = ()) -> list[str]:
        """Make the links match the history, remove unneeded directories; return the digests to confirm with `left`."""
        self._relink()
        stay = {entry.digest for entry in self.history.entries} | set(pinned)
        for digest in self._here():
            if digest not in stay:
                shutil.rmtree(self._folder(digest), ignore_errors=True)
        return [digest for digest in self.history.leaving if digest not in stay]

    def left(self, gone: Collection[str]) -> None:
        """Forget these digests: their directories and content are removed."""
        if gone:
            self._journal.confirm(self.history.without(gone))

    def _relink(self) -> None:
        known: list[Contents] = []
        for digest in self._here():
            with suppress(HoldfastError):
                known.append(self.manifest(digest))
        current = self.history.current
        self._links.settle(next((one for one in known if current and one.digest == current.digest), None), known)

    def _here(self) -> list[str]:
        names = [path.name.replace("-", ":", 1) for path in self.root.glob(f"{CANONICAL}-*")]
        return [name for name in names if not complaint(name)]

    def _commit(self, coming: History) -> None:
        assert coming.current is not None
        self._journal.announce(coming)
        self._swap(coming.current.digest)
        self._journal.confirm(coming)

    def _swap(self, digest: str) -> None:
        fresh = self.root / f".{CURRENT}"
        with disk("bundle"):
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self._folder(digest).name)
            os.replace(fresh, self.root / CURRENT)
            sync(self.root)

    def _linked(self) -> str:
        try:
            return os.readlink(self.root / CURRENT).replace("-", ":", 1)
        except OSError:
            return ""

    def _folder(self, digest: str) -> Path:
        if complaint(digest) or not digest.startswith(f"{CANONICAL}:"):
            raise NotFound(f'bundle "{digest}" on this node')
        return self.root / digest.replace(":", "-")


def _check(path: Path, file: File) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise FailedPrecondition(f"{path}: {reason_of(error)}; apply the bundle again") from error
    with os.fdopen(descriptor, "rb") as opened:
        about = os.fstat(descriptor)
        whole = stat.S_ISREG(about.st_mode) and about.st_size == file.size
        digest = hashlib.file_digest(opened, file.digest.partition(":")[0]).hexdigest() if whole else ""
    if digest != file.digest.partition(":")[2]:
        raise FailedPrecondition(f"{path}: is not what {file.digest} says; apply the bundle again")
    if stat.S_IMODE(about.st_mode) != file.mode:
        raise FailedPrecondition(f"{path}: has mode {stat.S_IMODE(about.st_mode):04o}; apply the bundle again")


def _sync_all(place: Path) -> None:
    for folder, _, names in os.walk(place, topdown=False):
        for name in names:
            sync(Path(folder, name))
        sync(Path(folder))
