import asyncio

import pytest
from holdfast.api.nri.v1alpha1 import nri_pb2 as pb
from holdfast.errors import Unimplemented
from holdfast.pods.nri import EVENT_MASK
from holdfast.ttrpc import Client

from tests.unit.plugins.node.nri.kit import linked


async def test_it_registers_with_the_bytes_that_go_was_seen_to_accept(tmp_path):
    async with linked(tmp_path) as (runtime, _):
        sock, _ = await asyncio.get_running_loop().sock_accept(runtime._listener)
        with sock:
            sent = await asyncio.get_running_loop().sock_recv(sock, 4096)
    expected = bytes.fromhex("00000002 0000004e 00000044 00000001 01 00 0a1c") + b"nri.pkg.api.v1alpha1.Runtime"
    expected += bytes.fromhex("120e") + b"RegisterPlugin" + bytes.fromhex("1a0e 0a08") + b"holdfast"
    expected += bytes.fromhex("1202 3130 20")  # "10", and then what is left of 5 s
    assert sent.startswith(expected)
    assert len(sent) == len(expected) + 5


async def test_it_serves_before_it_is_registered_because_a_runtime_calls_at_once(tmp_path):
    async with linked(tmp_path) as (runtime, _), runtime.plugin() as (plugin, _):
        reply = await plugin.Configure(pb.ConfigureRequest(runtime_name="containerd", runtime_version="v2"))
        assert reply.events == EVENT_MASK
        assert (await runtime.registered.get()).plugin_name == "holdfast"


async def test_it_is_a_plugin_from_the_end_of_the_synchronisation_to_the_end_of_the_connection(tmp_path):
    async with linked(tmp_path) as (runtime, link):
        for _ in range(2):
            async with runtime.plugin() as (plugin, mux):
                await runtime.registered.get()
                await plugin.Synchronize(pb.SynchronizeRequest(more=True))
                assert True not in link.states
                await plugin.Synchronize(pb.SynchronizeRequest())
                assert link.states == [True]
                mux.close()
            async with runtime.plugin():  # it came back, so it saw the end
                assert link.states == [True, False]
                link.states.clear()


async def test_a_runtime_that_drops_it_at_once_is_asked_again_ever_more_slowly(tmp_path, monkeypatch):
    async with linked(tmp_path) as (runtime, link):
        pauses = []
        for _ in range(3):
            async with runtime.plugin() as (plugin, _):
                await runtime.registered.get()
                pauses.append(link.pause_s)
                await plugin.Synchronize(pb.SynchronizeRequest())
        assert pauses[-1] > pauses[1] * 1.3
        monkeypatch.setattr("holdfast.plugins.node.nri.link.LASTED_S", 0)
        async with runtime.plugin():
            await runtime.registered.get()
        async with runtime.plugin():
            assert link.pause_s <= 0.1


async def test_a_runtime_that_refuses_it_is_asked_again(tmp_path):
    async with linked(tmp_path) as (runtime, _):
        runtime.refusal = "invalid plugin index"
        async with runtime.plugin() as (_, mux):
            await mux.ended.wait()
        runtime.refusal = None
        async with runtime.plugin():
            assert (await runtime.registered.get()).plugin_idx == "10"


@pytest.mark.parametrize("bytes_", [b"\xff" * 64, b"\0\0\0\1\0\0\0\x0a" + b"\xff" * 10, b"\0\0\0\1\0\0\0\0" * 100])
async def test_a_peer_that_speaks_something_else_costs_one_connection_at_most(tmp_path, bytes_):
    async with linked(tmp_path) as (runtime, _):
        loop = asyncio.get_running_loop()
        sock, _ = await loop.sock_accept(runtime._listener)
        with sock:
            await loop.sock_sendall(sock, bytes_)
        async with runtime.plugin():
            await runtime.registered.get()


async def test_methods_it_does_not_want_are_said_to_be_none_so_that_a_runtime_falls_back(tmp_path):
    async with linked(tmp_path) as (runtime, _), runtime.plugin() as (_, mux):
        await runtime.registered.get()
        client = Client(mux.connector(1))
        for name in ("PostCreateContainer", "UpdateContainer", "ValidateContainerAdjustment"):
            call = client.unary("nri.pkg.api.v1alpha1.Plugin", name, pb.ContainerEvent, pb.Empty)
            with pytest.raises(Unimplemented, match=f"^method {name}$"):
                await call(pb.ContainerEvent())
