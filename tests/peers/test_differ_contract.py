"""The contract of every differ, put to real containerd's and to ours over gRPC: it asks what containerd does."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contracts.differ import ApplyContract, DiffContract, LaterDiffContract, RoundContract
from tests.needs import path_of, peer, root
from tests.peers import containerd, holdfast
from tests.peers.layers import dialled

pytestmark = [peer("containerd", "containerd2/containerd"), root]


@pytest.fixture(scope="module")
def addresses():
    with ExitStack() as stack:
        place = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="d"))) for _ in range(3)]
        later = path_of("containerd2/containerd")
        yield {
            "containerd": stack.enter_context(containerd.running(place[0])),
            "containerd 2": stack.enter_context(containerd.running(place[1], program=later)),
            "holdfast": stack.enter_context(holdfast.running(place[2]))[0],
        }


@pytest.fixture
async def differ(request, addresses):
    async with dialled(addresses[request.param]) as daemon:
        yield daemon


@pytest.mark.parametrize("differ", ["containerd", "containerd 2"], indirect=True)
class TestTheirs(ApplyContract, DiffContract, RoundContract):
    pass


@pytest.mark.parametrize("differ", ["containerd 2"], indirect=True)
class TestLater(LaterDiffContract):
    pass


@pytest.mark.parametrize("differ", ["holdfast"], indirect=True)
class TestOurs(ApplyContract, DiffContract, RoundContract, LaterDiffContract):
    refuses = True
