"""The contract of every differ, put to ours without a daemon in between."""

from __future__ import annotations

import pytest
from holdfast import namespaces
from holdfast.plugins.containerd.differ import Walking, WalkingConfig
from holdfast.store import LocalStore, MetadataStore

from tests.contracts.differ import ApplyContract, DiffContract, LaterDiffContract, RoundContract
from tests.peers.layers import Daemon

pytestmark = pytest.mark.root


class Calls:
    """The differ as its service calls it."""

    def __init__(self, walking):
        self._walking = walking

    async def Apply(self, request, metadata):
        with namespaces.inside("hf"):
            return await self._walking.apply(request, "")

    async def Diff(self, request, metadata):
        with namespaces.inside("hf"):
            return await self._walking.compare(request, "")


@pytest.fixture
async def differ(tmp_path):
    local = LocalStore(tmp_path / "of-ours" / "content")
    await local.open()
    metadata = MetadataStore(tmp_path / "of-ours" / "meta.sqlite", local)
    await metadata.open()
    walking = Walking(metadata, tmp_path / "of-ours" / "place", WalkingConfig())
    yield Daemon(metadata.content.within("hf"), Calls(walking))
    await walking.close()
    await metadata.close()
    await local.close()


class TestWalking(ApplyContract, DiffContract, RoundContract, LaterDiffContract):
    refuses = True
