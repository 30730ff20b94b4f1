"""Our client against the ttrpc server of a real containerd."""

import tempfile
from pathlib import Path

import pytest
from google.protobuf.empty_pb2 import Empty
from holdfast.api.services.ttrpc.events.v1 import events_pb2, events_ttrpc
from holdfast.errors import InvalidArgument, Unimplemented
from holdfast.ttrpc import Client

from tests.peers import containerd
from tests.running import PATIENCE_S
from tests.unit.ttrpc.harness import raw_client
from tests.unit.ttrpc.test_server import ROWS

pytestmark = [pytest.mark.peer, pytest.mark.root]

RECORDED = bytes.fromhex(
    "000000900000000101000a2a636f6e7461696e6572642e73657276696365732e6576656e74732e74747270632e76312e4576656e747312"
    "07466f72776172641a590a570a0c0880e2cfaa061080cab5ee01120764656661756c741a0f2f686f6c64666173742f70726f6265222d0a"
    "2974797065732e636f6e7461696e6572642e696f2f676f6f676c652e70726f746f6275662e456d7074791200"
)


@pytest.fixture(scope="module")
def address():
    with tempfile.TemporaryDirectory(prefix="hf") as folder, containerd.running(Path(folder)) as grpc_address:
        yield f"{grpc_address}.ttrpc"


def event(topic="/holdfast/probe", namespace="default"):
    request = events_pb2.ForwardRequest()
    request.envelope.timestamp.FromSeconds(1700000000)
    request.envelope.namespace, request.envelope.topic = namespace, topic
    request.envelope.event.Pack(Empty())
    return request


async def test_an_event_is_forwarded(address):
    async with Client(address) as client:
        assert await events_ttrpc.EventsStub(client).Forward(event(), timeout=PATIENCE_S) == Empty()


async def test_what_containerd_refuses_comes_back_with_its_reason(address):
    async with Client(address) as client:
        with pytest.raises(InvalidArgument, match=r"topic"):
            await events_ttrpc.EventsStub(client).Forward(event(topic="no-slash"), metadata={"key": "value"})


async def test_an_unknown_service_is_refused_in_the_same_words_as_ours(address):
    async with Client(address) as client:
        call = client.unary("no.such.Service", "M", Empty, Empty)
        with pytest.raises(Unimplemented, match=r"^service no\.such\.Service$"):
            await call(Empty())


async def test_the_recorded_bytes_still_get_the_recorded_answer(address):
    async with raw_client(address) as raw:
        raw.writer.write(RECORDED)
        assert await raw.reader.readexactly(10) == bytes.fromhex("00000000000000010200")


@pytest.mark.parametrize("row", ["zero-length request", "even id", "id 0", "oversized request"])
async def test_bad_input_gets_from_ttrpc_1_1_the_answers_we_give(address, row):
    frames, answers = ROWS[row]
    async with raw_client(address) as raw:
        raw.send(*frames)
        assert [await raw.refusal() for _ in answers] == answers
