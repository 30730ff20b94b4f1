"""What calls of a plugin carry, as a real server of each transport receives it."""

from __future__ import annotations

import grpc
import pytest
from holdfast import namespaces
from holdfast.errors import NotFound
from holdfast.server.outgoing import grpc_channel, ttrpc_client

from tests.unit.rpc.serving import SERVICE, handler, serving, text
from tests.unit.rpc.test_channels_traced import call
from tests.unit.rpc.test_spans import SAMPLED, TRACE, Recorded
from tests.unit.ttrpc import harness


def arrived(context, key=namespaces.GRPC_HEADER):
    return ",".join(value for name, value in context.invocation_metadata() if name == key)


async def answered(request, context):
    return text(arrived(context))


async def streamed(request, context):
    yield text(arrived(context))


METHODS = {
    "unary": handler("unary", answered),
    "server": handler("server", streamed),
    "client": handler("client", answered),
    "bidi": handler("bidi", streamed),
}


@pytest.mark.parametrize("shape", METHODS)
async def test_a_call_over_grpc_carries_the_namespace(short_dir, shape):
    async with serving(short_dir, METHODS) as served, grpc_channel(served.target) as channel:
        with namespaces.inside("k8s.io"):
            assert await call(channel, shape) == "k8s.io"
        assert await call(channel, shape) == ""


async def test_a_namespace_that_the_plugin_names_wins(short_dir):
    async with serving(short_dir, METHODS) as served, grpc_channel(served.target) as channel:
        method = channel.unary_unary(f"/{SERVICE}/unary")
        with namespaces.inside("k8s.io"):
            data = await method(b"", metadata=((namespaces.GRPC_HEADER, "other"),))
    assert b"other" in data
    assert b"k8s.io" not in data


async def test_a_call_over_grpc_carries_the_trace_too(short_dir):
    recorded = Recorded()

    async def traced(request, context):
        return text(arrived(context, "traceparent"))

    async with serving(short_dir, {"unary": handler("unary", traced)}) as served:
        with recorded.tracing.of_channels():
            channel = grpc_channel(served.target)
        async with channel:
            recorded.tracing.begin("/a.v1.B/C", (SAMPLED,))
            header = await call(channel, "unary")
    assert header.split("-")[1] == TRACE


async def test_credentials_make_a_channel_with_tls():
    async with grpc_channel("127.0.0.1:1", grpc.ssl_channel_credentials()) as channel:
        assert isinstance(channel, grpc.aio.Channel)


@pytest.mark.parametrize("traced", [True, False])
async def test_a_call_over_ttrpc_carries_the_namespace_and_the_trace(traced):
    recorded = Recorded()
    tracing = recorded.tracing if traced else None
    async with harness.serving(harness.Echo().register) as (_, path), ttrpc_client(path, tracing) as client:
        recorded.tracing.begin("/a.v1.B/C", (SAMPLED,))
        with namespaces.inside("k8s.io"):
            carried = (await harness.Stubs(client).Context(harness.Text())).value
    assert f"{namespaces.TTRPC_HEADER}=k8s.io" in carried
    assert (TRACE in carried) is traced
    assert [span.name for span in recorded.spans] == ["test.Echo/Context"] * traced


async def test_a_call_over_ttrpc_that_fails_ends_its_span_with_the_code():
    recorded = Recorded()
    async with harness.serving(harness.Echo().register) as (_, path), ttrpc_client(path, recorded.tracing) as client:
        with pytest.raises(NotFound):
            await harness.Stubs(client).Fail(harness.Text(value="FileNotFoundError('gone')"))
        async with harness.Stubs(client).Count(harness.Number(value=2)) as counting:
            assert [one.value async for one in counting] == [0, 1]
    assert [span.attributes["rpc.grpc.status_code"] for span in recorded.spans] == [5, 0]
