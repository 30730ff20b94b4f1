"""The contracts put to real containerd and to our daemon, over gRPC: what they ask is what containerd does."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contracts.collection import CollectionContract, LaterCollectionContract
from tests.contracts.content import ContentContract
from tests.contracts.images import LaterImagesContract
from tests.contracts.metadata import MetadataContract
from tests.contracts.sharing import IsolatedContract, IsolationContract, LeasedContract, SharingContract
from tests.needs import path_of, peer
from tests.peers import containerd, holdfast, remote

pytestmark = peer("containerd", "containerd2/containerd")

ISOLATED = '[plugins."io.containerd.metadata.v1.bolt"]\ncontent_sharing_policy = "isolated"\n'
# Both collect when a test asks, and never between two of its lines: one makes a lease that expired an hour ago.
SCHEDULER = "io.containerd.gc.v1.scheduler"
THEIRS = f'{containerd.CONFIG}[plugins."{SCHEDULER}"]\npause_threshold = 0.000000001\nstartup_delay = "1h"\n'
OURS = f"{holdfast.CONFIG}plugins:\n  {SCHEDULER}: {{{{pause_threshold: 0.000000001, startup_delay: 1h}}}}\n"
OUR_ISOLATED = "  io.containerd.metadata.v1.bolt: {{content_sharing_policy: isolated}}\n"


@pytest.fixture(scope="module")
def place():
    """Makes folders whose names are short, and ends what was started in them."""
    with ExitStack() as stack:

        def started(run, *arguments, **more):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s")))
            return stack.enter_context(run(folder, *arguments, **more))

        yield started


@pytest.fixture(scope="module")
def addresses(place):
    return {
        "containerd": place(containerd.running, THEIRS),
        "containerd 2": place(containerd.running, THEIRS, program=path_of("containerd2/containerd")),
        "holdfast": place(holdfast.running, OURS)[0],
    }


@pytest.fixture(scope="module")
def isolated(place):
    later = path_of("containerd2/containerd")
    return {
        "containerd 2": place(containerd.running, THEIRS + ISOLATED, program=later),
        "holdfast": place(holdfast.running, OURS + OUR_ISOLATED)[0],
    }


@pytest.fixture(params=["containerd", "containerd 2", "holdfast"])
async def metadata(request, addresses):
    async with remote.dialled(addresses[request.param]) as dialled:
        dialled.wants_a_spec = request.param != "containerd 2"
        yield dialled


class Neighbours:
    @pytest.fixture
    def store(self, metadata):
        return metadata.content("one")

    @pytest.fixture
    def neighbour(self, metadata):
        return metadata.content("two")


class TestContent(Neighbours, ContentContract, SharingContract, IsolationContract):
    keeps_open = False  # over gRPC nothing is open between two reads


class TestMetadata(MetadataContract):
    pass


@pytest.mark.parametrize("metadata", ["containerd 2", "holdfast"], indirect=True)
class TestLaterImages(LaterImagesContract):
    pass


@pytest.fixture
def within(metadata):
    return metadata.content


@pytest.fixture
def collect(metadata):
    return metadata.collect


class TestLeased(LeasedContract):
    pass


class TestCollection(CollectionContract):
    pass


@pytest.mark.parametrize("metadata", ["containerd 2", "holdfast"], indirect=True)
class TestLaterCollection(LaterCollectionContract):
    pass


class TestIsolated(Neighbours, IsolationContract, IsolatedContract):
    @pytest.fixture(params=["containerd 2", "holdfast"])
    async def metadata(self, request, isolated):
        async with remote.dialled(isolated[request.param]) as dialled:
            yield dialled
