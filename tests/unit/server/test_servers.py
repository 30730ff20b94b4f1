import asyncio
from contextlib import AsyncExitStack

import pytest
from holdfast.config import Settings
from holdfast.errors import BootError
from holdfast.listener.descriptors import Bounds
from holdfast.plugin import Endpoint, PluginSet, PluginState, State, plugin
from holdfast.plugin.services import METRICS, SERVER
from holdfast.plugin.serving import ServingBoard
from holdfast.rpc import Counters
from holdfast.server.servers import Servers

SETTINGS = Settings()


async def init(context):
    yield None


class Recorded:
    """A server that records what is done with it."""

    def __init__(self, name, steps):
        self.name, self.steps = name, steps

    async def start(self, listening):
        self.steps.append(f"start {self.name}")
        listening.stack.callback(self.steps.append, f"closed {self.name}")

    async def drain(self, grace_s):
        self.steps.append(f"drain {self.name} {grace_s:g}")

    async def close(self):
        self.steps.append(f"close {self.name}")


class Fails(Recorded):
    def __init__(self, name, steps, error):
        super().__init__(name, steps)
        self.error = error

    async def start(self, listening):
        await super().start(listening)
        raise self.error


class Hangs(Recorded):
    async def close(self):
        await asyncio.Event().wait()


class Alone:
    """A server with nothing but what it must have."""

    async def start(self, listening):
        self.listening = listening


class Takes(Recorded):
    offered_by = "register_mine"

    def table(self, listening):
        self.services = ["a"]
        return self

    def withdraw(self, service):
        self.services.remove(service)


def made(*instances, settings=SETTINGS, measured=()):
    plugins = PluginSet()
    for name, instance in measured:
        plugins.add(PluginState(plugin(METRICS, name)(init), State.READY, instance))
    for number, instance in enumerate(instances):
        plugins.add(PluginState(plugin(SERVER, f"s{number}")(init), State.READY, instance))
    endpoints = {f"{SERVER.uri}.s0": [Endpoint("x", "x endpoint", "/run/x.sock")]}
    return Servers(settings, plugins, ServingBoard(), endpoints, Bounds()), plugins


async def test_they_start_in_order_are_drained_and_close_in_reverse_each_before_what_it_opened():
    steps = []
    servers, _ = made(Recorded("a", steps), Alone(), Recorded("b", steps))
    async with AsyncExitStack() as stack:
        await servers.start(stack)
        assert await servers.drain(3) == 0
    assert steps[:4] == ["start a", "start b", "drain a 3", "drain b 3"]
    assert steps[4:] == ["close b", "closed b", "close a", "closed a"]


async def test_one_that_cannot_have_its_address_ends_the_boot_and_those_before_it_close():
    steps = []
    servers, _ = made(Recorded("a", steps), Fails("b", steps, BootError("failed to get listener for b: taken")))
    with pytest.raises(BootError, match="taken"):
        async with AsyncExitStack() as stack:
            await servers.start(stack)
    assert steps == ["start a", "start b", "close b", "closed b", "close a", "closed a"]


@pytest.mark.parametrize("error", [ValueError("torn"), SystemExit(3), asyncio.CancelledError("its own")])
async def test_one_whose_start_raises_anything_else_has_failed_and_the_others_serve(error):
    steps = []
    servers, plugins = made(Fails("a", steps, error), Recorded("b", steps))
    async with AsyncExitStack() as stack:
        await servers.start(stack)
        assert steps == ["start a", "closed a", "start b"]
        assert [state.state for state in plugins] == [State.FAILED, State.READY]
        assert servers.address == "no address"  # of those that serve
        await servers.drain(0)
    assert "drain a 0" not in steps


async def test_one_whose_close_hangs_does_not_keep_the_others_open():
    steps = []
    settings = Settings(timeouts={"io.holdfast.timeout.plugin.init": 0.05})
    servers, _ = made(Recorded("a", steps), Hangs("b", steps), settings=settings)
    async with AsyncExitStack() as stack:
        await servers.start(stack)
    assert steps[2:] == ["closed b", "close a", "closed a"]


async def test_one_without_a_start_is_not_started():
    servers, plugins = made(object())
    async with AsyncExitStack() as stack:
        await servers.start(stack)
    assert [state.state for state in plugins] == [State.READY]


async def test_a_server_has_its_endpoints_and_the_layer_of_what_measures_calls():
    counters, tracing, server = Counters(), object(), Alone()
    servers, _ = made(server, measured=[("grpc-otel", tracing), ("grpc-prometheus", counters)])
    async with AsyncExitStack() as stack:
        await servers.start(stack)
        assert servers.address == "/run/x.sock"
    assert [endpoint.name for endpoint in server.listening.endpoints] == ["x"]
    layer = server.listening.shared.layer
    assert (layer.counters, layer.tracing) == (counters, tracing)


async def test_what_is_disabled_is_not_in_the_layer():
    server = Alone()
    servers, _ = made(server)
    async with AsyncExitStack() as stack:
        await servers.start(stack)
    assert server.listening.shared.layer.tracing is None


async def test_of_two_servers_that_take_what_plugins_offer_by_one_method_the_second_has_failed():
    _, plugins = made(Takes("a", []), Takes("b", []))
    assert [str(state.error) for state in plugins] == [
        "None",
        "another server takes what plugins offer by register_mine",
    ]
