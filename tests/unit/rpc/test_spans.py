from __future__ import annotations

import asyncio
import contextvars
import re
import threading

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from holdfast import log
from holdfast.errors import NotFound, Unavailable
from holdfast.metrics import Registry
from holdfast.rpc import Counters, InterceptorLayer
from holdfast.rpc.spans import CallTracing
from opentelemetry import baggage, propagate, trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from tests.unit.rpc.serving import SERVICE, handler, refused, serving, text

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")
UNSAMPLED = ("traceparent", f"00-{TRACE}-b7ad6b7169203331-00")


class Recorded:
    """A tracing layer that keeps its spans."""

    def __init__(self, ratio: float = 1.0, parent_based: bool = True, histogram: bool = False) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = CallTracing(
            [SimpleSpanProcessor(self.exporter)],
            lambda share, follow: (parent_based, ratio) if share is None else (follow, share),
        )
        self.layer = InterceptorLayer(Counters(histogram=histogram), tracing=self.tracing)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()


async def outgoing(request, context):
    """Answers with the headers a call made from here would carry."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return StringValue(value=" ".join(f"{key}={value}" for key, value in sorted(carrier.items())))


async def call(recorded, short_dir, behavior=outgoing, metadata=()):
    async with serving(short_dir, {"M": handler("unary", behavior)}, layer=recorded.layer) as served:
        return (await served.method("unary", "M")(text(""), metadata=metadata)).value


async def test_a_recorded_call_is_a_server_span_by_the_semantic_conventions(short_dir):
    recorded = Recorded()
    await call(recorded, short_dir)
    (span,) = recorded.spans
    assert span.name == f"{SERVICE}/M"
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": SERVICE,
        "rpc.method": "M",
        "rpc.grpc.status_code": 0,
    }
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(("metadata", "shown"), [(SAMPLED, True), (UNSAMPLED, False)])
async def test_a_recorded_call_is_the_exemplar_of_its_bucket(short_dir, metadata, shown):
    recorded, registry = Recorded(histogram=True), Registry()
    recorded.layer.counters.add_to(registry)
    await call(recorded, short_dir, metadata=(metadata,))
    pattern = rf'^grpc_server_handling_seconds_bucket{{.*}} 1 # {{trace_id="{TRACE}"}} \d\S* \d+\.\d+$'
    assert bool(re.search(pattern, registry.text(openmetrics=True).decode(), re.MULTILINE)) is shown
    assert TRACE not in registry.text().decode()


async def test_a_recorded_call_continues_the_callers_trace_and_passes_it_on(short_dir):
    recorded = Recorded()
    metadata = (SAMPLED, ("tracestate", "a=1"), ("tracestate", "b=2"), ("baggage", "user=ada"))
    headers = await call(recorded, short_dir, metadata=metadata)
    (span,) = recorded.spans
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent.is_remote
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert f"traceparent=00-{TRACE}-{span.context.span_id:016x}-01" in headers
    assert "tracestate=a=1,b=2" in headers
    assert "baggage=user=ada" in headers


async def test_baggage_reaches_the_handler(short_dir):
    async def who(request, context):
        return text(str(baggage.get_baggage("user")))

    assert await call(Recorded(0), short_dir, who, (("baggage", "user=ada"),)) == "ada"


async def test_an_unsampled_caller_is_followed_and_flag_00_goes_on(short_dir):
    recorded = Recorded()
    headers = await call(recorded, short_dir, metadata=(UNSAMPLED, ("tracestate", "a=1")))
    assert recorded.spans == ()
    version, trace_id, span_id, flags = headers.split(" ")[0].removeprefix("traceparent=").split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "00")
    assert span_id not in ("b7ad6b7169203331", "0" * 16)
    assert "tracestate=a=1" in headers


async def test_a_root_call_that_is_not_recorded_still_has_a_trace_of_its_own(short_dir):
    recorded = Recorded(ratio=0)
    first, second = await call(recorded, short_dir), await call(recorded, short_dir)
    assert recorded.spans == ()
    assert first != second
    assert first.endswith("-00")
    assert trace.get_current_span().get_span_context() == trace.INVALID_SPAN.get_span_context()


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.5, 1.0])
def test_the_decision_is_the_sdks_own_for_every_trace_id(ratio):
    choice, theirs = Recorded(ratio).tracing.choice, TraceIdRatioBased(ratio)
    for trace_id in (1, 2**63, 2**64 - 1, 2**64, 0xDEADBEEF << 96 | 2**57, int(TRACE, 16)):
        expected = theirs.should_sample(None, trace_id, "x").decision.is_sampled()
        assert choice.records(trace_id, None) is expected


async def test_a_share_of_root_calls_is_recorded_and_drawn_once(short_dir, monkeypatch):
    recorded = Recorded(ratio=0.25)
    drawn = iter([2**62 - 1, 2**62, 2**64 - 1, 5])  # below a quarter of 2^64: the first and the last
    monkeypatch.setattr("holdfast.rpc.spans.random.getrandbits", lambda bits: next(drawn) if bits == 128 else 7)
    async with serving(short_dir, {"M": handler("unary", outgoing)}, layer=recorded.layer) as served:
        for _ in range(4):
            await served.method("unary", "M")(text(""))
    assert [span.context.trace_id for span in recorded.spans] == [2**62 - 1, 5]
    assert next(drawn, None) is None


async def test_without_parents_the_trace_id_decides_whatever_the_caller_said(short_dir):
    assert int(TRACE, 16) & (2**64 - 1) >= 2**63
    recorded = Recorded(ratio=0.5, parent_based=False)
    headers = await call(recorded, short_dir, metadata=(SAMPLED,))
    assert recorded.spans == ()
    assert headers.endswith("-00")


@pytest.mark.parametrize(("metadata", "names"), [((SAMPLED,), ["work", f"{SERVICE}/M"]), ((UNSAMPLED,), [])])
@pytest.mark.parametrize("parent_based", [True, False])
async def test_spans_a_plugin_starts_follow_the_call(short_dir, metadata, names, parent_based):
    recorded = Recorded(ratio=1.0 if metadata[0] is SAMPLED else 0.0, parent_based=parent_based)

    async def working(request, context):
        with recorded.tracing.provider.get_tracer("plugin").start_as_current_span("work"):
            return request

    await call(recorded, short_dir, working, metadata)
    assert [span.name for span in recorded.spans] == names
    if names:
        assert recorded.spans[0].parent.span_id == recorded.spans[1].context.span_id


async def test_spans_a_plugin_starts_outside_a_call_take_their_share():
    recorded = Recorded(ratio=0)
    tracer = recorded.tracing.provider.get_tracer("plugin")
    tracer.start_span("before").end()
    recorded.tracing.record_share(1.0)
    tracer.start_span("after").end()
    assert [span.name for span in recorded.spans] == ["after"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00-zz-1-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{TRACE}-b7ad6b7169203331-01-extra",
    ],
)
async def test_a_malformed_traceparent_begins_a_trace_of_its_own(short_dir, value):
    recorded = Recorded()
    await call(recorded, short_dir, metadata=(("traceparent", value),))
    (span,) = recorded.spans
    assert span.parent is None


@pytest.mark.parametrize(
    "value", [SAMPLED[1], f"00-{TRACE}-b7ad6b7169203331-03", f"01-{TRACE}-b7ad6b7169203331-01-new"]
)
async def test_the_short_way_to_read_a_traceparent_reads_what_the_library_reads(short_dir, value):
    recorded = Recorded(ratio=0)
    await call(recorded, short_dir, metadata=(("traceparent", value),))
    (span,) = recorded.spans
    theirs = trace.get_current_span(recorded.tracing._propagator.extract({"traceparent": value})).get_span_context()
    assert span.parent == theirs


async def test_flags_other_than_sampled_go_on_as_they_came(short_dir):
    headers = await call(Recorded(), short_dir, metadata=(("traceparent", f"00-{TRACE}-b7ad6b7169203331-02"),))
    assert headers.endswith("-02")


@pytest.mark.parametrize(
    ("error", "number", "status", "described"),
    [
        (NotFound("x"), 5, StatusCode.UNSET, None),
        (Unavailable("not now"), 14, StatusCode.ERROR, "not now: unavailable"),
        (KeyError("x"), 2, StatusCode.ERROR, "KeyError: 'x'"),
    ],
)
async def test_only_what_is_the_servers_fault_makes_the_span_an_error(short_dir, error, number, status, described):
    async def failing(request, context):
        raise error

    recorded = Recorded()
    async with serving(short_dir, {"M": handler("unary", failing)}, layer=recorded.layer) as served:
        await refused(served.method("unary", "M")(text("")))
    (span,) = recorded.spans
    assert span.attributes["rpc.grpc.status_code"] == number
    assert (span.status.status_code, span.status.description) == (status, described)


async def test_a_stream_is_one_span_that_ends_with_it(short_dir):
    recorded = Recorded()

    async def two(request, context):
        yield text(trace.format_trace_id(trace.get_current_span().get_span_context().trace_id))
        assert recorded.spans == ()
        yield text("")

    async with serving(short_dir, {"M": handler("server", two)}, layer=recorded.layer) as served:
        answers = [answer.value async for answer in served.method("server", "M")(text(""))]
    (span,) = recorded.spans
    assert answers[0] == trace.format_trace_id(span.context.trace_id)


async def test_log_lines_of_a_recorded_call_carry_its_ids_and_others_carry_none(short_dir):
    async def ids(request, context):
        now = log.trace_ids.get()
        return text(f"{now.trace_id:032x} {now.span_id:016x}" if now else "")

    recorded = Recorded()
    said = await call(recorded, short_dir, ids)
    (span,) = recorded.spans
    assert said == f"{span.context.trace_id:032x} {span.context.span_id:016x}"
    assert await call(Recorded(0), short_dir, ids) == ""


async def test_what_an_unrecorded_call_hands_on_is_made_once_and_is_valid(short_dir):
    async def handed_on(request, context):
        here, elsewhere = trace.get_current_span(), contextvars.copy_context()
        seen = await asyncio.to_thread(elsewhere.run, lambda: trace.get_current_span().get_span_context())
        same = here.get_span_context() is seen
        return text(
            f"{same} {seen.is_valid} {seen.trace_flags.sampled} {'span_id' in repr(here)} {here.is_recording()}"
        )

    assert await call(Recorded(0), short_dir, handed_on) == "True True False True False"


async def test_a_reload_changes_the_share_and_whether_callers_are_followed(short_dir):
    recorded = Recorded(ratio=0)
    recorded.tracing.record_share(1.0)
    await call(recorded, short_dir)
    recorded.tracing.follow_parents(False)
    await call(recorded, short_dir, metadata=(UNSAMPLED,))
    recorded.tracing.record_share(None)
    await call(recorded, short_dir)
    assert len(recorded.spans) == 2


class Stuck(SpanProcessor):
    """A collector that never answers."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def shutdown(self) -> None:
        self.released.wait()


async def test_closing_sends_what_is_queued():
    recorded = Recorded()
    call = recorded.tracing.begin("/a.B/C", ())
    call.end(0)
    await recorded.tracing.close()
    assert len(recorded.spans) == 1


async def test_a_collector_that_does_not_answer_does_not_hold_the_daemon(caplog):
    stuck = Stuck()
    tracing = CallTracing([stuck], lambda ratio, follow: (True, 1.0))
    await tracing.close(limit_s=0.05)
    stuck.released.set()
    assert [record.getMessage() for record in caplog.records] == ["traces not sent before the end"]
