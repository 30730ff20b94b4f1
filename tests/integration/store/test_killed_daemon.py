"""kill -9 to a daemon in the middle of a client's write: the next daemon goes on where the last answer was."""

from __future__ import annotations

import tempfile
from pathlib import Path

import grpc
import pytest
from holdfast.errors import HoldfastError

from tests.contracts.content import ROOT, digest, get, put, some
from tests.peers import holdfast
from tests.peers.remote import RemoteMetadata

FRAME = 1 << 20


async def test_what_was_answered_is_there_after_a_kill():
    data, name = some(8 * FRAME + 5)
    with tempfile.TemporaryDirectory(prefix="h") as directory:
        with holdfast.running(Path(directory)) as (address, process):
            async with grpc.aio.insecure_channel(f"unix:{address}") as channel:
                store = RemoteMetadata(channel).content("ns")
                before = await put(store, b"committed before")
                writer = await store.writer("ref", len(data), name)
                for number in range(5):
                    await writer.write(data[number * FRAME : (number + 1) * FRAME])
                process.kill()
                process.wait()
                with pytest.raises(HoldfastError):
                    await writer.write(data[5 * FRAME : 6 * FRAME])
        with holdfast.running(Path(directory)) as (address, _):
            async with grpc.aio.insecure_channel(f"unix:{address}") as channel:
                store = RemoteMetadata(channel).content("ns")
                assert await get(store, before) == b"committed before"
                writer = await store.writer("ref", len(data), name)
                assert (writer.status.offset, writer.digest) == (5 * FRAME, digest(data[: 5 * FRAME]))
                await writer.write(data[5 * FRAME :])
                await writer.commit(len(data), name, ROOT)
                await writer.close()
                assert await get(store, name) == data
