import asyncio

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp
from holdfast import namespaces
from holdfast.api.services.events.v1.events_pb2 import ForwardRequest, PublishRequest, SubscribeRequest
from holdfast.api.services.events.v1.events_pb2_grpc import EventsStub
from holdfast.api.services.ttrpc.events.v1 import events_pb2 as ttrpc_events
from holdfast.api.types.event_pb2 import Envelope
from holdfast.errors import FailedPrecondition
from holdfast.events import Exchange, QueueLimits
from holdfast.metrics import Registry
from holdfast.plugins.containerd.events import Events, ExchangeConfig, events, exchange

ENVELOPE = Envelope(namespace="k8s.io", topic="/tasks/exit", timestamp=Timestamp(seconds=5), event=Any(type_url="x"))


class Channel:
    """A real server and client on a socket of their own; ``subscribed`` waits until so many are."""

    def __init__(self, made, address):
        self.exchange = made
        self.server = grpc.aio.server()
        Events(made).register_grpc(self.server)
        self.server.add_insecure_port(address)
        self.channel = grpc.aio.insecure_channel(address)
        self.stub = EventsStub(self.channel)

    async def __aenter__(self):
        await self.server.start()
        return self

    async def __aexit__(self, *_):
        await self.channel.close()
        await self.server.stop(None)

    async def count(self, wanted):
        while len(self.exchange._subscriptions) != wanted:
            await asyncio.sleep(0)


async def test_a_subscriber_gets_envelopes_byte_for_byte(tmp_path):
    async with Channel(Exchange(), f"unix:{tmp_path}/s") as running:
        call = running.stub.Subscribe(SubscribeRequest(filters=['topic=="/tasks/exit"']))
        await call.initial_metadata()  # from now on nothing is missed
        await running.stub.Forward(ForwardRequest(envelope=ENVELOPE))
        assert await call.read() == ENVELOPE
        call.cancel()
        await running.count(0)


async def test_publish_takes_the_callers_namespace():
    made = Exchange()
    with made.subscribe() as reading, namespaces.inside("default"):
        await Events(made).Publish(PublishRequest(topic="/a", event=Any(type_url="x")), None)
        assert (await anext(reading)).envelope.namespace == "default"


async def test_publish_without_a_namespace_is_refused():
    with pytest.raises(FailedPrecondition, match="failed publishing event: namespace is required"):
        await Events(Exchange()).Publish(PublishRequest(topic="/a"), None)


async def test_a_shims_forward_over_ttrpc_is_the_same_handler():
    made = Exchange()
    with made.subscribe() as reading:
        await Events(made).Forward(ttrpc_events.ForwardRequest(envelope=ENVELOPE), None)
        assert (await anext(reading)).envelope == ENVELOPE


class Registrar:
    """Keeps the services that a server receives."""

    def __init__(self):
        self.services = {}

    def add_generic_rpc_handlers(self, handlers):
        assert len(handlers) == 1

    def add_registered_method_handlers(self, service, handlers):
        self.services[service] = sorted(handlers)

    def register(self, service, methods):
        self.services[service] = sorted(methods)


def test_the_services_are_containerds():
    registrar, offered = Registrar(), Events(Exchange())
    offered.register_grpc(registrar)
    offered.register_ttrpc(registrar)
    assert registrar.services == {
        "containerd.services.events.v1.Events": ["Forward", "Publish", "Subscribe"],
        "containerd.services.events.ttrpc.v1.Events": ["Forward"],
    }
    assert set(registrar.services) == set(events.services)
    assert (exchange.uri, events.uri) == ("io.containerd.event.v1.exchange", "io.containerd.grpc.v1.events")


async def read_all(call, into):
    async for envelope in call:
        into.append(envelope)


async def test_a_client_that_does_not_read_is_cut_off_and_one_that_reads_misses_nothing(tmp_path):
    made = Exchange(QueueLimits(events=100))
    large = Any(type_url="x", value=bytes(8 * 1024))
    async with Channel(made, f"unix:{tmp_path}/s") as running:
        blocked = running.stub.Subscribe(SubscribeRequest(filters=["namespace==n"]))
        await blocked.initial_metadata()
        stuck = next(iter(made._subscriptions))
        reading = running.stub.Subscribe(SubscribeRequest())
        await reading.initial_metadata()
        sent = 0
        while stuck.ended_by is None:  # until the transport's buffers and then the queue are full
            made.publish(f"/n/{sent}", large, namespace="n")
            assert (await reading.read()).topic == f"/n/{sent}"
            sent += 1
        await running.count(1)
        received = []
        with pytest.raises(grpc.aio.AioRpcError, match="subscriber is too slow: 100 events"):
            await read_all(blocked, received)
        assert 0 < len(received) < sent
        made.publish("/last", large, namespace="n")
        assert (await reading.read()).topic == "/last"
        reading.cancel()
        await running.count(0)


class Context:
    def __init__(self):
        self.config = ExchangeConfig(queue_events=3, queue_size=1000)
        self.metrics = Registry()


async def test_the_plugin_takes_its_limits_from_the_config_and_prints_counters_while_it_lives():
    context = Context()
    async for made in exchange.init(context):
        assert made.limits == QueueLimits(events=3, size=1000)
        assert b"holdfast_events_subscribers_dropped_total" in context.metrics.text()
    assert b"holdfast_events" not in context.metrics.text()
