import pytest
from holdfast.bundle import BundleDir, Bundles
from holdfast.bundle.bundles import NAMESPACE
from holdfast.bundle.links import Links
from holdfast.node.rule.file import read_bundle
from holdfast.store import LocalStore, MetadataStore

from tests.fakes import bundles


class Node:
    """A node's store and bundle directory, opened."""

    def __init__(self, root, targets=(), keep=2):
        self.root, self.targets, self.keep = root, targets, keep

    async def open(self):
        self.local = LocalStore(self.root / "content")
        await self.local.open()
        self.metadata = MetadataStore(self.root / "meta.sqlite", self.local)
        await self.metadata.open()
        self.bundle_dir = BundleDir(self.root / "bundles", Links(self.root / "bundles", self.targets), self.keep)
        self.bundles = Bundles(self.metadata, self.bundle_dir, read_bundle)
        await self.bundles.open()
        return self

    async def close(self):
        await self.metadata.close()
        await self.local.close()

    async def put(self, data, labels=None):
        return await bundles.put(self.metadata, data, labels)

    async def pull(self, name, files, **notes):
        return await bundles.pull(self.metadata, name, files, **notes)

    async def content(self):
        """Every digest that is in content after a collection."""
        await self.metadata.collect()
        store = self.metadata.content.within(NAMESPACE)
        return {info.digest async for page in store.pages() for info in page}

    def current(self, path):
        return (self.root / "bundles" / "current" / "files" / path).read_bytes()


@pytest.fixture
async def make_node(tmp_path):
    """Opens nodes over one directory, one at a time; the last one is closed at the end."""
    opened = []

    async def make(**how):
        for one in opened:
            await one.close()
        opened[:] = [await Node(tmp_path / "node", **how).open()]
        return opened[0]

    yield make
    for one in opened:
        await one.close()


@pytest.fixture
async def node(make_node):
    return await make_node()
