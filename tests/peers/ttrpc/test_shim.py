"""A real containerd-shim-runc-v2 as server and as client, and ctr as a client on the abstract socket."""

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from pathlib import Path

import pytest
from google.protobuf.empty_pb2 import Empty
from holdfast.api.services.ttrpc.events.v1 import events_ttrpc
from holdfast.errors import ConnectionClosed, DeadlineExceeded, NotFound
from holdfast.ttrpc import Client, Method, Reconnect, same_user

from tests.peers.containerd import peer
from tests.peers.ttrpc.messages import Bytes, field, scratch_name
from tests.unit.ttrpc.harness import serving

pytestmark = [pytest.mark.peer, pytest.mark.root]

TASK = "containerd.task.v2.Task"
#: Stands where runc does: says that the container's first process is PID, and carries out nothing.
RUNC = """#!/bin/sh
while [ $# -gt 0 ]; do
  [ "$1" != --pid-file ] || printf %s {pid} >"$2"
  shift
done
"""


class Events(events_ttrpc.EventsServicer):
    """Keeps the events that a shim publishes."""

    def __init__(self):
        self.seen = asyncio.Queue()

    async def Forward(self, request, call):
        self.seen.put_nowait((request.envelope, call, call.time_remaining()))  # now: the test may be late
        return Empty()


class Task:
    """A shim's Task service as our client calls it."""

    def __init__(self, client):
        for name in ("Connect", "State", "Create", "Start", "Wait", "Shutdown"):
            setattr(self, name, client.unary(TASK, name, Bytes, Bytes))


@contextlib.asynccontextmanager
async def shim(start, events_address):
    """A shim that serves, its Task stub, and its bundle."""
    with tempfile.TemporaryDirectory(prefix="hf") as folder:
        bundle = Path(folder)
        os.mkfifo(bundle / "log")
        log = os.open(bundle / "log", os.O_RDWR)  # both ends: the shim neither waits for a reader nor loses one
        socket_file = bundle / "s"
        running = await start(
            *(peer("containerd-shim-runc-v2"), "-namespace", "hf", "-id", "web", "-socket", socket_file),
            cwd=folder,
            env={**os.environ, "TTRPC_ADDRESS": events_address, "GOMAXPROCS": "2"},
        )
        try:
            async with Client(str(socket_file), reconnect=Reconnect(first_s=0.01, longest_s=0.05)) as client:
                task = Task(client)
                await task.Connect(Bytes(field(1, "web")), timeout=30, wait_for_ready=True)
                yield running, task, bundle
        finally:
            os.close(log)


async def created(task, bundle, pid):
    runc = bundle / "runc"
    runc.write_text(RUNC.format(pid=pid))
    runc.chmod(0o755)
    options = field(6, str(runc)) + field(7, str(bundle / "runc-root"))
    packed = field(1, "containerd.runc.v1.Options") + field(2, options)
    reply = await task.Create(Bytes(field(1, "web"), field(2, str(bundle)), field(10, packed)), timeout=30)
    assert reply.number(1) == pid


@pytest.fixture
async def victim(start):
    """A process that the fake runc gives out as the container's."""
    return (await start("sleep", "infinity")).process.pid


async def test_the_shim_answers_our_client_and_its_errors_keep_their_words(start):
    async with shim(start, "/nowhere") as (running, task, _):
        reply = await task.Connect(Bytes(field(1, "web")))
        assert reply.number(1) == running.process.pid
        with pytest.raises(NotFound, match=r"^container not created: not found$"):
            await task.State(Bytes(field(1, "web")), timeout=30)


async def test_a_handler_of_the_shims_that_ignores_its_deadline_does_not_hold_our_caller(start, victim):
    async with shim(start, "/nowhere") as (_, task, bundle):
        await created(task, bundle, victim)
        with pytest.raises(DeadlineExceeded):
            await task.Wait(Bytes(field(1, "web")), timeout=0.1)
        assert (await task.Connect(Bytes(field(1, "web")))).number(1) > 0


async def test_a_shim_that_shuts_down_answers_if_it_can_and_closes(start):
    """Its process may end before the answer is sent: containerd's own client takes both for success."""
    async with shim(start, "/nowhere") as (running, task, _):
        with contextlib.suppress(ConnectionClosed):
            assert (await task.Shutdown(Bytes(field(1, "web")), timeout=30)).data == b""
        _, code = await running.rest()
        assert code == 0
        with pytest.raises(ConnectionClosed):
            await task.Connect(Bytes(field(1, "web")))


async def test_a_shim_publishes_its_events_to_our_server(start, victim):
    events = Events()
    register = [lambda server: events_ttrpc.add_EventsServicer_to_server(events, server)]
    async with (
        serving(*register, handshake=same_user()) as (server, path),
        shim(start, path) as (running, task, bundle),
    ):
        await created(task, bundle, victim)
        await task.Start(Bytes(field(1, "web")), timeout=30)
        topics = []
        for _ in range(2):
            envelope, call, remaining_s = await events.seen.get()
            topics.append(envelope.topic)
            assert envelope.namespace == "hf"
            assert call.metadata["containerd-namespace-ttrpc"] == ("hf",)
            assert 0 < remaining_s <= 5  # of five when it was sent
            assert call.peer.pid == running.process.pid
        assert topics == ["/tasks/create", "/tasks/start"]
        assert server.connections == 1


async def test_a_shim_finds_our_server_again_after_a_restart(start, victim):
    events = Events()
    register = [lambda server: events_ttrpc.add_EventsServicer_to_server(events, server)]
    with tempfile.TemporaryDirectory(prefix="hf") as folder:
        path = f"{folder}/e"
        async with contextlib.AsyncExitStack() as stack:
            async with serving(*register, path=path):
                _, task, bundle = await stack.enter_async_context(shim(start, path))
                await created(task, bundle, victim)
                assert (await events.seen.get())[0].topic == "/tasks/create"
            os.unlink(path)
            async with serving(*register, path=path):
                await task.Start(Bytes(field(1, "web")), timeout=30)
                assert (await events.seen.get())[0].topic == "/tasks/start"
                await stack.aclose()


class State:
    """A Task service that answers ctr's one question as the test wants."""

    def __init__(self, answer):
        self.answer = answer

    async def state(self, request, call):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def register(self, server):
        server.register(TASK, {"State": Method(self.state, Bytes, Bytes)})


async def ctr_state(start, answer):
    """Return what ``ctr … shim … state`` says when our server stands where it looks for a shim."""
    name = scratch_name()
    with socket.socket(socket.AF_UNIX) as listener:
        # ctr was built with a Go that ends abstract names with a NUL of their own
        listener.bind(f"\0/containerd-shim/hf/{name}/shim.sock\0")
        listener.listen()  # now: ctr may dial before the serving task has its first turn
        async with serving(State(answer).register) as (server, _), asyncio.TaskGroup() as group:
            group.create_task(server.serve(listener))
            ctr = await start(peer("ctr"), "-a", "/nowhere", "-n", "hf", "shim", "--id", name, "state")
            lines, code = await ctr.rest()
            await server.shutdown(5)
    return "\n".join(lines), code


async def test_ctr_prints_the_state_we_answer(start):
    answer = Bytes(field(1, "web"), field(2, "/bundle"), field(3, 4711), field(4, 2))
    said, code = await ctr_state(start, answer)
    assert code == 0, said
    assert json.loads(said)["pid"] == 4711


async def test_ctr_prints_the_error_we_answer(start):
    said, code = await ctr_state(start, NotFound("task web"))
    assert (said, code) == ("ctr: rpc error: code = NotFound desc = task web: not found", 1)


async def test_ctr_is_told_of_an_oversized_answer_and_does_not_crash(start):
    said, code = await ctr_state(start, Bytes(field(2, "x" * (4 << 20))))
    assert code == 1
    assert "ResourceExhausted" in said
    assert "panic" not in said
