"""Calls that go out over grpc.aio while tracing is on, as a real server receives them."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from holdfast.api.services.content.v1 import content_pb2 as content
from holdfast.errors import NotFound
from holdfast.plugins.proxy.registrations import Proxy
from holdfast.plugins.proxy.remote import RemoteContent
from holdfast.pods.cri import connected
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from tests.running import PATIENCE_S
from tests.unit.rpc.serving import SERVICE, SHAPES, handler, serving, text
from tests.unit.rpc.test_spans import Recorded


def arrived(context) -> str:
    return dict(context.invocation_metadata()).get("traceparent", "")


def parts(header: str) -> tuple[int, int, bool]:
    """Trace, span and whether it is recorded; the flags may have further bits."""
    _, trace_id, span_id, flags = header.split("-")
    return int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & trace.TraceFlags.SAMPLED)


async def answered(request, context):
    return text(arrived(context))


async def streamed(request, context):
    yield text(arrived(context))


async def answered_at_the_end(requests, context):
    """After all requests: what a client has still to send when its answer comes would fail."""
    async for _ in requests:
        pass
    return await answered(None, context)


async def streamed_at_the_end(requests, context):
    async for _ in requests:
        pass
    async for one in streamed(None, context):
        yield one


async def failed(request, context):
    await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


async def endless(request, context):
    await asyncio.Event().wait()


METHODS = {
    "unary": handler("unary", answered),
    "server": handler("server", streamed),
    "client": handler("client", answered_at_the_end),
    "bidi": handler("bidi", streamed_at_the_end),
    "failed": handler("unary", failed),
    "endless": handler("unary", endless),
}


async def call(channel, shape, name=None):
    make = {"unary": "unary_unary", "server": "unary_stream", "client": "stream_unary", "bidi": "stream_stream"}[shape]
    method = getattr(channel, make)(
        f"/{SERVICE}/{name or shape}", lambda one: one.SerializeToString(), text("").FromString
    )
    request = text("") if shape in ("unary", "server") else iter([text("")])
    if shape in ("unary", "client"):
        return (await method(request)).value
    (answer,) = [one async for one in method(request)]
    return answer.value


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_call_of_any_shape_carries_its_span_which_follows_the_one_around_it(short_dir, shape):
    recorded = Recorded()
    async with serving(short_dir, METHODS) as served:
        tracer = recorded.tracing.provider.get_tracer("test")
        with recorded.tracing.of_channels():
            async with connected(served.target.removeprefix("unix:")) as channel:
                with tracer.start_as_current_span("around"):
                    header = await call(channel, shape)
    span, around = recorded.spans
    assert parts(header) == (around.context.trace_id, span.context.span_id, True)
    assert (span.kind, span.parent.span_id) == (SpanKind.CLIENT, around.context.span_id)
    assert dict(span.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": SERVICE,
        "rpc.method": shape,
        "rpc.grpc.status_code": 0,
    }


async def test_a_call_that_is_not_recorded_says_so_to_the_peer(short_dir):
    recorded = Recorded(ratio=0)
    async with serving(short_dir, METHODS) as served:
        with recorded.tracing.of_channels():
            async with connected(served.target.removeprefix("unix:")) as channel:
                header = await call(channel, "unary")
    assert parts(header)[2] is False
    assert recorded.spans == ()


async def test_a_service_that_is_excluded_gets_no_trace(short_dir, monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_GRPC_EXCLUDED_SERVICES", SERVICE)
    recorded = Recorded()
    async with serving(short_dir, METHODS) as served:
        with recorded.tracing.of_channels():
            async with connected(served.target.removeprefix("unix:")) as channel:
                assert await call(channel, "unary") == ""
    assert recorded.spans == ()


async def test_a_call_inside_a_call_continues_the_callers_trace(short_dir):
    recorded = Recorded()
    (short_dir / "peer").mkdir()
    async with serving(short_dir / "peer", METHODS) as peer:

        async def forwarded(request, context):
            return text(await call(proxy.channel, "unary"))

        # The caller's own channel is made before, and not traced.
        async with serving(short_dir, {"M": handler("unary", forwarded)}, layer=recorded.layer) as served:
            with recorded.tracing.of_channels():
                proxy = Proxy(peer.target.removeprefix("unix:"))
                traceparent = ("traceparent", f"00-{7:032x}-{9:016x}-01")
                answer = await served.method("unary", "M")(text(""), metadata=(traceparent,))
                await proxy.close()
    inner, outer = recorded.spans
    assert parts(answer.value) == (7, inner.context.span_id, True)
    assert (outer.kind, inner.parent.span_id) == (SpanKind.SERVER, outer.context.span_id)


async def test_an_error_reaches_the_caller_and_the_span(short_dir):
    recorded = Recorded()
    async with serving(short_dir, METHODS) as served:
        with recorded.tracing.of_channels():
            async with connected(served.target.removeprefix("unix:")) as channel:
                with pytest.raises(grpc.aio.AioRpcError, match="no such thing"):
                    await call(channel, "unary", "failed")
    (span,) = recorded.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_call_that_is_given_up_ends(short_dir):
    recorded = Recorded()
    async with serving(short_dir, METHODS) as served:
        with recorded.tracing.of_channels():
            async with connected(served.target.removeprefix("unix:")) as channel, asyncio.timeout(PATIENCE_S):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await call(channel, "unary", "endless")
                assert await call(channel, "unary")


async def test_the_store_of_another_process_is_written_and_read_as_ever(short_dir):
    """Its writer reads and writes one call by turns, which the interceptors replace by a call of their own."""
    headers = []

    async def write(requests, context):
        headers.append(arrived(context))
        offset = 0
        async for request in requests:
            offset += len(request.data)
            yield content.WriteContentResponse(offset=offset, total=3, digest="d" * bool(request.action))

    async def info(request, context):
        headers.append(arrived(context))
        await context.abort(grpc.StatusCode.NOT_FOUND, "content x: not found")

    def register(registrar):
        registrar.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    "containerd.services.content.v1.Content",
                    {
                        "Write": grpc.stream_stream_rpc_method_handler(
                            write,
                            content.WriteContentRequest.FromString,
                            content.WriteContentResponse.SerializeToString,
                        ),
                        "Info": grpc.unary_unary_rpc_method_handler(
                            info, content.InfoRequest.FromString, content.InfoResponse.SerializeToString
                        ),
                    },
                ),
            )
        )

    recorded = Recorded()
    async with serving(short_dir, register=register) as served, asyncio.timeout(PATIENCE_S):
        with recorded.tracing.of_channels():
            proxy = Proxy(served.target.removeprefix("unix:"))
            store = RemoteContent(proxy.channel, "ns")
            writer = await store.writer("ref", 3)
            await writer.write(b"abc")
            await writer.commit(3)
            with pytest.raises(NotFound):
                await store.info("x")
            await proxy.close()
    assert writer.status.offset == 3
    assert [span.name.rpartition("/")[2] for span in recorded.spans] == ["Write", "Info"]
    assert [parts(header)[1] for header in headers] == [span.context.span_id for span in recorded.spans]


async def test_afterwards_channels_are_as_they_were(short_dir):
    made = grpc.aio.insecure_channel
    with Recorded().tracing.of_channels():
        assert grpc.aio.insecure_channel is not made
    assert grpc.aio.insecure_channel is made
    assert trace.get_current_span() is trace.INVALID_SPAN
