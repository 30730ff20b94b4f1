"""Apply bundles and roll them back: from content to a directory, under leases, one change at a time.

Steps of an apply; after a kill at any step, the next start has the old bundle or the new one, complete:

1. the manifest is read from content and checked, its rules are compiled, its links are checked;
2. a lease without expiry holds the manifest, and by its labels all blobs it names;
3. the directory is written beside the others, and gets its name;
4. `BundleDir.apply`: history, link, history;
5. links elsewhere are updated; bundles that a rollback can no longer reach lose directory, image and leases.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from typing import Any

import msgspec

from holdfast import log
from holdfast.bundle.bundle_dir import CURRENT, BundleDir
from holdfast.bundle.history import AppliedBundle
from holdfast.bundle.manifest import MAX_MANIFEST, Contents, File, contents
from holdfast.errors import AlreadyExists, HoldfastError, InvalidArgument, NotFound, ResourceExhausted
from holdfast.store.digest import CANONICAL, complaint, of_bytes
from holdfast.store.metadata import MetadataStore
from holdfast.store.objects.images import Image
from holdfast.store.objects.leases import CONTENT, Resource

LOG = log.named(__name__)
NAMESPACE = "holdfast"
LABEL = "io.holdfast.bundle"  # on images and leases: the manifest's digest, or its first characters
KEPT, PULLED = "bundle-", "pull-"  # ids of leases, before the manifest's hex digits

#: Path and text of each rules file; raises `HoldfastError` with file and line for invalid rules.
Check = Callable[[Iterable[tuple[str, str]]], object]


class BundleState(Enum):
    """State of a bundle; the values are the API's."""

    CURRENT = 1
    EARLIER = 2
    ROLLED_BACK = 3
    PULLED = 4


class Listed(msgspec.Struct, frozen=True):
    """One bundle of the node; ``at_ns`` in nanoseconds since 1970, 0 for one never applied."""

    digest: str
    name: str
    state: BundleState
    at_ns: int = 0
    files: tuple[File, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """The current bundle after a change, and the digest of the one before it."""

    bundle: Listed
    previous: str


class Bundles:
    """The bundles of one node, over its metadata and its bundle directory. ``clock`` gives nanoseconds since 1970."""

    def __init__(
        self, metadata: MetadataStore, bundle_dir: BundleDir, check: Check, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._metadata, self._bundle_dir, self._check, self._clock = metadata, bundle_dir, check, clock
        self._changing = asyncio.Lock()
        self._watchers: list[Callable[[], None]] = []
        self._pinned: Callable[[], str] = str

    async def open(self) -> None:
        """Finish or undo a change that a kill interrupted.

        Raises:
            HoldfastError: the history cannot be read.
        """
        await asyncio.to_thread(self._bundle_dir.open)
        # The pinned digest is not known yet: only leases of bundles without a directory are released here.
        history = self._bundle_dir.history
        here = {entry.digest for entry in history.entries} | set(history.leaving)
        for lease in await self._metadata.leases.matching(NAMESPACE, [f"labels.{_quoted(LABEL)}"]):
            digest = f"{CANONICAL}:{lease.id.removeprefix(KEPT)}"
            if lease.id.startswith(KEPT) and digest not in here and not self._has(digest):
                await self._metadata.leases.delete(NAMESPACE, lease.id)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` on the loop after each change of the bundles in force or on this node."""
        self._watchers.append(watcher)

    def pin(self, wanted: Callable[[], str]) -> None:
        """Never remove the directory of the digest that ``wanted`` returns."""
        self._pinned = wanted

    def rules(self, reference: str) -> tuple[str, list[tuple[str, str]]]:
        """Return the digest of ``reference`` (a digest, or ``current``) and its rules files: path and text. Blocks.

        Raises:
            NotFound: it was not applied here.
            FailedPrecondition: its directory is damaged.
            ConfigError: its rules are invalid, or this node does not allow them (now).
        """
        digest = reference
        if reference == CURRENT:
            current = self._bundle_dir.history.current
            if current is None:
                raise NotFound("current bundle: none was applied yet")
            digest = current.digest
        texts = list(self._bundle_dir.texts(digest))
        self._check(texts)
        return digest, texts

    async def apply(self, reference: str) -> Outcome:
        """Put the bundle named by ``reference`` (a name or a digest) in force.

        Raises:
            NotFound: it is not in content: pull it first.
            ConfigError: its rules are invalid, with file and line.
            HoldfastError: nothing changed.
        """
        async with self._changing:
            name, digest = await self._found(reference)
            bundle = contents(digest, await self._blob(digest, MAX_MANIFEST))
            data = {file.path: await self._blob(file.digest, file.size) for file in bundle.rules}
            self._check((path, text.decode("utf-8", "replace")) for path, text in data.items())
            await asyncio.to_thread(self._bundle_dir.check_links, bundle)
            await self._hold(digest)
            await self._put(bundle)
            previous = self._bundle_dir.history.current
            await asyncio.to_thread(self._bundle_dir.apply, AppliedBundle(digest, name, self._clock()))
            await self._settle()
            return self._outcome(previous)

    async def rollback(self) -> Outcome:
        """Put the bundle before the current one in force.

        Raises:
            FailedPrecondition: there is none, or it is damaged.
        """
        async with self._changing:
            previous = self._bundle_dir.history.current
            await asyncio.to_thread(self._bundle_dir.rollback)
            await self._settle()
            return self._outcome(previous)

    async def listed(self) -> list[Listed]:
        """All bundles of the node: the current one, earlier ones newest first, the one undone, those only pulled."""
        history = self._bundle_dir.history
        known = [self._listed(entry) for entry in history.entries]
        applied = {one.digest for one in known}
        images = await self._images()
        pulled = [Listed(one.target.digest, one.name, BundleState.PULLED) for one in images]
        return known + [one for one in pulled if one.digest not in applied]

    async def _found(self, reference: str) -> tuple[str, str]:
        """The name and digest of a bundle in content."""
        by_digest = not complaint(reference)
        known = [one for one in await self._images() if reference in (one.name, one.target.digest)]
        if known:
            return known[0].name, known[0].target.digest
        entry = next((one for one in self._bundle_dir.history.entries if reference in (one.name, one.digest)), None)
        if entry is not None:  # its image expired or was removed; a lease holds its content
            return entry.name, entry.digest
        if not by_digest:
            raise NotFound(f'bundle "{reference}": pull it first')
        return reference, reference

    async def _images(self) -> list[Image]:
        return await self._metadata.images.matching(NAMESPACE, [f"labels.{_quoted(LABEL)}"])

    async def _blob(self, digest: str, limit: int) -> bytes:
        """Return a whole blob of content, checked.

        Raises:
            NotFound: it is not there.
            ResourceExhausted: it is larger than ``limit`` bytes.
        """
        try:
            reader = await self._metadata.content.within(NAMESPACE).reader(digest)
        except NotFound as error:
            raise NotFound(f"bundle: {error.message}: pull it first") from error
        try:
            if reader.size > limit:
                raise ResourceExhausted(f"bundle: {digest}: {reader.size} bytes are more than {limit}")
            data = await reader.read(0, reader.size)
        finally:
            reader.close()
        if digest.startswith(f"{CANONICAL}:") and of_bytes(data) != digest:
            raise InvalidArgument(f"bundle: {digest}: content has {of_bytes(data)} under this digest")
        return data

    async def _hold(self, digest: str) -> None:
        lease = KEPT + _hex(digest)
        with suppress(AlreadyExists):
            await self._metadata.leases.create(NAMESPACE, lease, {LABEL: digest})
        await self._metadata.leases.add(NAMESPACE, lease, Resource(CONTENT, digest))

    async def _put(self, bundle: Contents) -> None:
        """Write the bundle's directory; keep an existing complete one."""
        with suppress(HoldfastError):
            await asyncio.to_thread(self._bundle_dir.read, bundle.digest)
            return
        place = await asyncio.to_thread(self._bundle_dir.begin, bundle)
        for file in bundle.files:
            data = await self._blob(file.digest, file.size)
            await asyncio.to_thread(self._bundle_dir.write, place, file, data)
        await asyncio.to_thread(self._bundle_dir.finish, place, bundle)

    async def _settle(self) -> None:
        """Call the watchers, then clean up; a failed cleanup is repeated at the next change."""
        for watcher in self._watchers:
            watcher()
        try:
            gone = await asyncio.to_thread(self._bundle_dir.settle, [self._pinned()])
            for digest in gone:
                await self._forget(digest)
            await asyncio.to_thread(self._bundle_dir.left, gone)
        except (HoldfastError, OSError) as error:
            LOG.warning("cannot remove old bundles", error=error)

    async def _forget(self, digest: str) -> None:
        """Release the bundle's content: the collector removes it."""
        for image in await self._images():
            if image.target.digest == digest:
                with suppress(NotFound):
                    await self._metadata.images.delete(NAMESPACE, image.name, digest)
        for prefix in (PULLED, KEPT):
            with suppress(NotFound):
                await self._metadata.leases.delete(NAMESPACE, prefix + _hex(digest))

    def _has(self, digest: str) -> bool:
        try:
            self._bundle_dir.manifest(digest)
        except HoldfastError:
            return False
        return True

    def _outcome(self, previous: AppliedBundle | None) -> Outcome:
        current = self._bundle_dir.history.current
        assert current is not None
        return Outcome(self._listed(current), previous.digest if previous else "")

    def _listed(self, entry: AppliedBundle) -> Listed:
        history = self._bundle_dir.history
        state = BundleState.EARLIER
        if entry == history.current:
            state = BundleState.CURRENT
        elif entry == history.undone:
            state = BundleState.ROLLED_BACK
        files: tuple[File, ...] = ()
        with suppress(HoldfastError):
            files = self._bundle_dir.manifest(entry.digest).files
        return Listed(entry.digest, entry.name, state, entry.at_ns, files)


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def _quoted(label: str) -> Any:
    return f'"{label}"'
