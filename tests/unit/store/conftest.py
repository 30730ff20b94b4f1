from __future__ import annotations

import pytest
from holdfast.store import LocalStore, MetadataStore


class Clock:
    """Nanoseconds that go on only when a test moves them, and by one at each read."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1_000_000_000)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def local(tmp_path):
    store = LocalStore(tmp_path / "content", patience_s=0.01)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def metadata(tmp_path, local, clock):
    store = MetadataStore(tmp_path / "meta.sqlite", local, clock=clock)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def isolated(tmp_path, local):
    store = MetadataStore(tmp_path / "isolated.sqlite", local, shared=False)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def timed(tmp_path, local):
    """With the real clock."""
    store = MetadataStore(tmp_path / "timed.sqlite", local)
    await store.open()
    yield store
    await store.close()
