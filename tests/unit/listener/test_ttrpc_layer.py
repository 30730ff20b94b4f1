from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from holdfast import namespaces
from holdfast.errors import Canceled, DeadlineExceeded, HoldfastError, NotFound, Unavailable
from holdfast.listener.ttrpc_layer import intercept
from holdfast.rpc import Counters, InterceptorLayer
from holdfast.rpc.counters import GO_CODES
from holdfast.rpc.spans import CallTracing
from holdfast.ttrpc import Client, Method
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.running import async_until
from tests.unit.ttrpc.harness import Echo, Number, Stubs, Text, serving


@asynccontextmanager
async def served(layer=None, *more):
    """The Echo service behind the layer; its stubs, its state, and what is counted."""
    layer = layer or InterceptorLayer(Counters())
    echo = Echo()
    async with serving(echo.register, *more, interceptors=[intercept(layer)]) as (_, path), Client(path) as client:

        def counted(name: str) -> dict[str, int]:
            method = layer.counters._methods[f"/test.Echo/{name}"]
            numbers = {"started": method.started, "received": method.received, "sent": method.sent}
            numbers.update(zip(GO_CODES, method.handled, strict=True))
            return {word: number for word, number in numbers.items() if number}

        yield Stubs(client), echo, layer, counted


async def numbers(*values):
    for value in values:
        yield Number(value=value)


async def test_every_method_exists_at_zero_under_gos_types_before_the_first_call():
    async with served() as (_, _, layer, counted):
        labels = [method.labels for method in layer.counters._methods.values()]
        assert counted("Say") == {}
    types = {found["grpc_method"]: found["grpc_type"] for found in labels}
    assert (types["Say"], types["Count"], types["Total"], types["EchoStream"]) == (
        "unary",
        "server_stream",
        "client_stream",
        "bidi_stream",
    )


async def test_calls_of_every_kind_are_answered_and_counted():
    async with served() as (stubs, _, _, counted):
        assert await stubs.Say(Text(value="hi")) == Text(value="hi")
        async with stubs.Count(Number(value=3)) as call:
            assert [number.value async for number in call] == [0, 1, 2]
        async with stubs.Total() as call:
            await call.send(Number(value=2))
            await call.send(Number(value=3))
            assert (await call.finish()).value == 5
        async with stubs.EchoStream() as call:
            await call.send(Text(value="a"))
            await call.half_close()
            assert [text.value async for text in call] == ["a"]
    assert counted("Say") == {"started": 1, "received": 1, "sent": 1, "OK": 1}
    assert counted("Count") == {"started": 1, "received": 1, "sent": 3, "OK": 1}
    assert counted("Total") == {"started": 1, "received": 2, "sent": 1, "OK": 1}
    assert counted("EchoStream") == {"started": 1, "received": 1, "sent": 1, "OK": 1}


async def test_errors_keep_their_code_and_sentence_and_are_counted_under_it():
    async with served() as (stubs, _, _, counted):
        with pytest.raises(NotFound, match=r"^no task: not found$"):
            await stubs.Fail(Text(value="__import__('holdfast.errors').errors.NotFound('no task')"))
        with pytest.raises(HoldfastError):
            await stubs.Fail(Text(value="ValueError('x')"))
    assert counted("Fail") == {"started": 2, "received": 2, "NotFound": 1, "Unknown": 1}


async def test_the_handler_is_in_the_namespace_ttrpc_callers_name_theirs_by():
    async def where(request, call):
        return Text(value=namespaces.current())

    def register(server):
        server.register("test.Where", {"Am": Method(where, Text, Text)})

    echo = Echo()
    layer = InterceptorLayer(Counters())
    async with (
        serving(echo.register, register, interceptors=[intercept(layer)]) as (_, path),
        Client(path) as client,
    ):
        ask = client.unary("test.Where", "Am", Text, Text)
        first = await ask(Text(), metadata={"containerd-namespace-ttrpc": "k8s.io"})
        second = await ask(Text())
    assert (first.value, second.value) == ("k8s.io", "")


async def test_a_deadline_and_a_caller_who_leaves_are_told_apart():
    async with served() as (stubs, echo, _, counted):
        await stubs.Say(Text())  # connected, so that the deadline is the handler's alone
        with pytest.raises(DeadlineExceeded):
            await stubs.Block(Text(value="a"), timeout=0.2)
        assert await echo.stopped.get() == "a"
        await async_until(lambda: counted("Block").get("DeadlineExceeded"))
        waiting = asyncio.ensure_future(stubs.Block(Text(value="b")))
        await echo.started.get()
        await echo.started.get()
    assert await echo.stopped.get() == "b"
    with pytest.raises((Canceled, Unavailable)):
        await waiting
    await async_until(lambda: counted("Block").get("Canceled"))


async def test_a_drain_refuses_new_calls_and_ends_streams_with_the_reason():
    async with served() as (stubs, echo, layer, counted):
        async with stubs.Stuck() as call:
            await echo.started.get()
            assert await layer.gate.drain(10) == 0
            with pytest.raises(Unavailable, match="shutting down"):
                await call.receive()
        with pytest.raises(Unavailable, match="shutting down"):
            await stubs.Say(Text())
    assert counted("Stuck") == {"started": 1, "Unavailable": 1}
    assert counted("Say")["Unavailable"] == 1


async def test_a_recorded_call_is_a_span_of_the_callers_trace():
    exporter = InMemorySpanExporter()
    tracing = CallTracing([SimpleSpanProcessor(exporter)], lambda ratio, follow: (True, 0.0))
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with served(InterceptorLayer(Counters(), tracing=tracing)) as (stubs, _, _, _):
        await stubs.Say(Text(), metadata={"traceparent": parent})
        await stubs.Say(Text())
    (span,) = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" in parent
    assert (span.name, span.attributes["rpc.system"]) == ("test.Echo/Say", "ttrpc")


async def test_the_histogram_observes_ttrpc_too():
    layer = InterceptorLayer(Counters(histogram=True))
    async with served(layer) as (stubs, _, _, _):
        await stubs.Say(Text())
    assert sum(layer.counters._methods["/test.Echo/Say"].seconds.counts) == 1
