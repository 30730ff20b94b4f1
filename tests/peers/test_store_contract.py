"""The contracts put to real containerd and to our daemon, over gRPC: what they ask is what containerd does."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.contracts.content import ContentContract, IsolationContract, SharingContract
from tests.contracts.metadata import MetadataContract
from tests.peers import containerd, holdfast, remote

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def addresses():
    with (
        tempfile.TemporaryDirectory(prefix="c") as theirs,
        tempfile.TemporaryDirectory(prefix="h") as ours,
        containerd.running(Path(theirs)) as containerd_address,
        holdfast.running(Path(ours)) as (our_address, _),
    ):
        yield {"containerd": containerd_address, "holdfast": our_address}


@pytest.fixture(params=["containerd", "holdfast"])
async def metadata(request, addresses):
    async with remote.dialled(addresses[request.param]) as dialled:
        yield dialled


class TestMetadata(MetadataContract):
    pass


class TestContent(ContentContract, SharingContract, IsolationContract):
    keeps_open = False  # over gRPC nothing is open between two reads

    @pytest.fixture
    def store(self, metadata):
        return metadata.content("one")

    @pytest.fixture
    def neighbour(self, metadata):
        return metadata.content("two")
