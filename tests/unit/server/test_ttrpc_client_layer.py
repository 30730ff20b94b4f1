"""Calls we make over ttrpc are counted under a client's families, and carry their trace to the server."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from holdfast.errors import NotFound
from holdfast.metrics import Registry
from holdfast.rpc import Counters, InterceptorLayer
from holdfast.rpc.counters import GO_CODES
from holdfast.rpc.spans import CallTracing
from holdfast.server.ttrpc_client_layer import intercept_calls
from holdfast.server.ttrpc_layer import intercept
from holdfast.ttrpc import Client
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tests.unit.ttrpc.harness import Echo, Number, Stubs, Text, serving


@asynccontextmanager
async def calling(tracing=None, layer=None):
    counters = Counters(side="client", histogram=True)
    echo = Echo()
    layer = layer or InterceptorLayer(Counters())
    async with (
        serving(echo.register, interceptors=[intercept(layer)]) as (_, path),
        Client(path, interceptors=[intercept_calls(counters, tracing)]) as client,
    ):

        def counted(name):
            method = counters._methods[f"/test.Echo/{name}"]
            numbers = {"started": method.started, "received": method.received, "sent": method.sent}
            numbers.update(zip(GO_CODES, method.handled, strict=True))
            return {word: number for word, number in numbers.items() if number}

        yield Stubs(client), counted, counters


async def test_unary_calls_are_counted_with_their_codes():
    async with calling() as (stubs, counted, counters):
        await stubs.Say(Text(value="a"))
        with pytest.raises(NotFound):
            await stubs.Fail(Text(value="FileNotFoundError('x')"))
    assert counted("Say") == {"started": 1, "sent": 1, "received": 1, "OK": 1}
    assert counted("Fail") == {"started": 1, "sent": 1, "NotFound": 1}
    assert sum(counters._methods["/test.Echo/Say"].seconds.counts) == 1


async def test_streams_count_their_messages_and_one_that_is_left_is_canceled():
    async with calling() as (stubs, counted, _):
        async with stubs.Count(Number(value=3)) as call:
            assert [reply.value async for reply in call] != []
        async with stubs.Total() as call:
            await call.send(Number(value=2))
            assert (await call.finish()).value == 2
        async with stubs.Stuck() as call:
            await call.send(Text(value="a"))
    assert counted("Count") == {"started": 1, "sent": 1, "received": 3, "OK": 1}
    assert counted("Total") == {"started": 1, "sent": 1, "received": 1, "OK": 1}
    assert counted("Stuck") == {"started": 1, "sent": 1, "Canceled": 1}


async def test_the_families_are_go_grpc_prometheuss_of_a_client():
    async with calling() as (stubs, _, counters):
        await stubs.Say(Text(value="a"))
    registry = Registry()
    counters.add_to(registry)
    names = {family.name: family.help_text for family in counters.families()}
    assert names == {
        "grpc_client_started_total": "Total number of RPCs started on the client.",
        "grpc_client_msg_received_total": "Total number of RPC stream messages received by the client.",
        "grpc_client_msg_sent_total": "Total number of gRPC stream messages sent by the client.",
        "grpc_client_handled_total": "Total number of RPCs completed by the client, regardless of success or failure.",
        "grpc_client_handling_seconds": (
            "Histogram of response latency (seconds) of the gRPC until it is finished by the application."
        ),
    }


@pytest.mark.parametrize(("ratio", "kinds"), [(1.0, [SpanKind.SERVER, SpanKind.CLIENT]), (0.0, [])])
async def test_both_ends_are_spans_of_one_trace_or_neither_is_recorded(ratio, kinds):
    exporter = InMemorySpanExporter()
    tracing = CallTracing([SimpleSpanProcessor(exporter)], lambda share, follow: (True, ratio))
    async with calling(tracing, InterceptorLayer(Counters(), tracing=tracing)) as (stubs, _, _):
        await stubs.Say(Text(value="a"))
    spans = exporter.get_finished_spans()
    assert [span.kind for span in spans] == kinds
    if spans:
        server, client = spans
        assert server.context.trace_id == client.context.trace_id
        assert server.parent.span_id == client.context.span_id
        assert client.attributes["rpc.system"] == "ttrpc"
