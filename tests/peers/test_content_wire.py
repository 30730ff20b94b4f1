"""The content service's messages on the wire, one by one: real containerd's answers are ours."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from pathlib import Path

import grpc
import pytest
from holdfast.api.services.content.v1 import content_pb2 as api
from holdfast.api.services.content.v1.content_pb2_grpc import ContentStub

from tests.peers import containerd, holdfast, remote
from tests.peers.remote import headers
from tests.running import PATIENCE_S

pytestmark = pytest.mark.peer

NS = headers("wire")
STAT, WRITE, COMMIT = api.STAT, api.WRITE, api.COMMIT
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABSENT = "sha256:" + "0" * 64
ROOT = {"containerd.io/gc.root": "1"}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def message(action: int = STAT, **fields: object) -> api.WriteContentRequest:
    return api.WriteContentRequest(action=action, **fields)


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
async def stub(request, addresses):
    async with remote.dialled(addresses[request.param]) as dialled:
        yield ContentStub(dialled.channel)


async def put(stub, data: bytes, ref: str = "put") -> str:
    call = stub.Write(metadata=NS)
    await call.write(message(COMMIT, ref=ref, total=len(data), data=data, labels=ROOT))
    assert digest(data) == (await call.read()).digest
    await call.done_writing()
    while await call.read() is not grpc.aio.EOF:  # containerd says its last answer twice
        pass
    return digest(data)


async def talk(stub, *messages: api.WriteContentRequest) -> list[object]:
    """Each message's answer as (action, offset, total, digest); at last the code and its words if it is an error."""
    call = stub.Write(metadata=NS)
    said: list[object] = []
    try:
        for sent in messages:
            await call.write(sent)
            answer = await call.read()
            if answer is grpc.aio.EOF:
                break
            said.append((answer.action, answer.offset, answer.total, answer.digest))
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:  # containerd says its last answer twice
            pass
    except grpc.aio.AioRpcError:
        pass
    if await call.code() is not grpc.StatusCode.OK:
        said.append(refusal(await call.code(), await call.details()))
    return said


def refusal(code: grpc.StatusCode, words: str) -> tuple[str, str]:
    """Without the class's word, which containerd leaves out here and there; every client takes it off."""
    words = re.sub(r": (already exists|not found|failed precondition|invalid argument|unavailable)$", "", words)
    return code.name, re.sub(r"locked for .*", "locked", re.sub(r"wire/\d+/", "wire/N/", words))


async def refused(call) -> tuple[str, str]:
    async def answered() -> None:
        if not hasattr(call, "read"):
            await call
            return
        while await call.read() is not grpc.aio.EOF:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answered()
    return refusal(caught.value.code(), caught.value.details())


ONE, TWO = digest(b"one"), digest(b"onetwo")
CONVERSATIONS = {
    "a first message without a ref": (
        [message()],
        [("INVALID_ARGUMENT", "first message must have a reference")],
    ),
    "a stat tells where it is": (
        [message(ref="r", total=6), message(WRITE, data=b"one"), message(), message(WRITE, offset=3, data=b"two")],
        [(STAT, 0, 6, EMPTY), (WRITE, 3, 6, ONE), (STAT, 3, 6, ONE), (WRITE, 6, 6, TWO)],
    ),
    "another offset than the current one": (
        [message(WRITE, ref="r", data=b"one"), message(WRITE, offset=5, data=b"two")],
        [(WRITE, 3, 0, ONE), ("OUT_OF_RANGE", "write @5 must occur at current offset 3")],
    ),
    "offset 0 begins anew": (
        [message(WRITE, ref="r", data=b"two"), message(WRITE, data=b"one")],
        [(WRITE, 3, 0, digest(b"two")), (WRITE, 3, 0, ONE)],
    ),
    "a write without data": (
        [message(WRITE, ref="r"), message(WRITE, data=b"")],
        [(WRITE, 0, 0, EMPTY), (WRITE, 0, 0, EMPTY)],
    ),
    "a commit in one message": (
        [message(COMMIT, ref="r", data=b"one", labels=ROOT)],
        [(COMMIT, 3, 0, ONE)],
    ),
    "a commit of another size": (
        [message(WRITE, ref="r", data=b"one"), message(COMMIT, offset=3, total=4)],
        [(WRITE, 3, 0, ONE), ("FAILED_PRECONDITION", '"r" failed size validation: 3 != 4')],
    ),
    "a size announced at the start counts at the commit": (
        [message(ref="r", total=4), message(WRITE, data=b"one"), message(COMMIT, offset=3)],
        [(STAT, 0, 4, EMPTY), (WRITE, 3, 4, ONE), ("FAILED_PRECONDITION", '"r" failed size validation: 3 != 4')],
    ),
    "a commit of another digest": (
        [message(WRITE, ref="r", data=b"one"), message(COMMIT, offset=3, expected=ABSENT)],
        [(WRITE, 3, 0, ONE), ("FAILED_PRECONDITION", f"unexpected commit digest {ONE}, expected {ABSENT}")],
    ),
    "a digest announced at the start counts at the commit": (
        [message(ref="r", expected=ABSENT), message(WRITE, data=b"one"), message(COMMIT, offset=3)],
        [
            (STAT, 0, 0, EMPTY),
            (WRITE, 3, 0, ONE),
            ("FAILED_PRECONDITION", f"unexpected commit digest {ONE}, expected {ABSENT}"),
        ],
    ),
    "nothing follows a commit": (
        [message(COMMIT, ref="r", data=b"one", labels=ROOT), message(WRITE, data=b"more")],
        [(COMMIT, 3, 0, ONE)],
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_a_conversation(stub, name):
    sent, expected = CONVERSATIONS[name]
    said = await talk(stub, *sent)
    if name == "nothing follows a commit":
        said = said[:1]  # containerd repeats its last answer
    assert expected == said


async def test_what_exists_cannot_be_begun_and_ends_what_was_begun(stub):
    await put(stub, b"one")
    begun = ("ALREADY_EXISTS", f"content {ONE}")
    assert [begun] == await talk(stub, message(ref="r", expected=ONE))
    late = ("ALREADY_EXISTS", f"blob with expected digest {ONE} exists")
    assert [(WRITE, 3, 0, ONE), late] == await talk(
        stub, message(WRITE, ref="r", data=b"one"), message(COMMIT, offset=3, expected=ONE)
    )
    assert [(WRITE, 3, 0, ONE), ("ALREADY_EXISTS", f"content {ONE}")] == await talk(
        stub, message(WRITE, ref="r", data=b"one"), message(COMMIT, offset=3)
    )
    assert list((await stub.ListStatuses(api.ListStatusesRequest(), metadata=NS)).statuses) == []


async def test_two_clients_of_one_ref(stub):
    first = stub.Write(metadata=NS)
    await first.write(message(WRITE, ref="r", data=b"one"))
    await first.read()
    assert await talk(stub, message(ref="r")) == [("UNAVAILABLE", "ref wire/N/r locked")]
    first.cancel()  # the holder goes without a word
    async with asyncio.timeout(PATIENCE_S):
        while (said := await talk(stub, message(ref="r")))[0][0] == "UNAVAILABLE":
            pass  # until the server sees that it went
    assert said == [(STAT, 3, 0, ONE)]


async def test_reads(stub):
    data = bytes(range(256)) * 8192 + b"end"  # two frames and three bytes
    name = await put(stub, data)

    async def read(offset: int = 0, size: int = 0) -> list[tuple[int, bytes]]:
        request = api.ReadContentRequest(digest=name, offset=offset, size=size)
        return [(answer.offset, answer.data) async for answer in stub.Read(request, metadata=NS)]

    assert [(0, data[: 1 << 20]), (1 << 20, data[1 << 20 : 2 << 20]), (2 << 20, b"end")] == await read()
    assert [(0, data[10:15])] == await read(10, 5)
    assert await read(2 << 20) == [(0, b"end")]
    assert await read((2 << 20) + 1, 1000) == [(0, b"nd")]
    assert await read(len(data)) == []
    assert [(0, data[:5])] == await read(-7, 5)
    past = ("OUT_OF_RANGE", f"read past object length {len(data)} bytes")
    request = api.ReadContentRequest(digest=name, offset=len(data) + 1)
    assert past == await refused(stub.Read(request, metadata=NS))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "format"),
        ("x", "format"),
        ("sha256:12", "length"),
        ("sha256:" + "G" * 64, "format"),
        ("md5:12", "algorithm"),
    ],
)
async def test_what_is_no_digest(stub, name, why):
    words = {
        "format": "invalid checksum digest format",
        "length": "invalid checksum digest length",
        "algorithm": "unsupported digest algorithm",
    }[why]
    failed = ("INVALID_ARGUMENT", f'"{name}" failed validation')
    assert failed == await refused(stub.Info(api.InfoRequest(digest=name), metadata=NS))
    assert failed == await refused(stub.Update(api.UpdateRequest(info=api.Info(digest=name)), metadata=NS))
    assert ("INVALID_ARGUMENT", words) == await refused(stub.Delete(api.DeleteContentRequest(digest=name), metadata=NS))
    said = await refused(stub.Read(api.ReadContentRequest(digest=name), metadata=NS))
    assert ("INVALID_ARGUMENT", f"{name}: {words}") == said


async def test_what_is_not_there(stub):
    absent = ("NOT_FOUND", f"content digest {ABSENT}")
    assert absent == await refused(stub.Info(api.InfoRequest(digest=ABSENT), metadata=NS))
    assert absent == await refused(stub.Delete(api.DeleteContentRequest(digest=ABSENT), metadata=NS))
    assert absent == await refused(stub.Read(api.ReadContentRequest(digest=ABSENT), metadata=NS))
    said = await refused(stub.Status(api.StatusRequest(ref="r"), metadata=NS))
    assert said == ("NOT_FOUND", 'could not get status for ref "r": reference r')
    assert await refused(stub.Abort(api.AbortRequest(ref="r"), metadata=NS)) == ("NOT_FOUND", "reference r")


async def test_without_a_namespace_nothing_is_said(stub):
    missing = ("FAILED_PRECONDITION", "namespace is required")
    assert missing == await refused(stub.Info(api.InfoRequest(digest=ABSENT)))
    assert missing == await refused(stub.List(api.ListContentRequest()))
    assert missing == await refused(stub.ListStatuses(api.ListStatusesRequest()))
    assert missing == await refused(stub.Delete(api.DeleteContentRequest(digest=ABSENT)))


async def test_a_million_labels_are_refused_and_the_blob_is_as_it_was(stub):
    """Each of them is short enough; all together exceed a message (16 MiB)."""
    await talk(stub, message(COMMIT, ref="labelled", data=b"labelled", labels=ROOT))
    info = api.Info(digest=digest(b"labelled"), labels={f"label-{number:07}": "v" for number in range(1_000_000)})
    code, _ = await refused(stub.Update(api.UpdateRequest(info=info), metadata=NS))
    assert code == "RESOURCE_EXHAUSTED"
    found = await stub.Info(api.InfoRequest(digest=info.digest), metadata=NS)
    assert dict(found.info.labels) == ROOT


async def test_a_lease_that_is_not_there(stub):
    call = stub.Write(metadata=(*NS, ("containerd-lease", "gone")))
    await call.write(message(ref="r"))
    assert await refused(call) == ("NOT_FOUND", "lease does not exist")
