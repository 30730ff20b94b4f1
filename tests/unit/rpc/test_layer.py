from __future__ import annotations

import asyncio
import logging

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from google.rpc.status_pb2 import Status
from holdfast import namespaces
from holdfast.errors import Code, FailedPrecondition, Internal, MisusedPlugin, NotFound, from_status
from holdfast.rpc import Counters, Gate, InterceptorLayer
from holdfast.rpc.counters import MethodType

from tests.running import PATIENCE_S, async_until
from tests.unit.rpc.serving import SERVICE, handler, refused, serving, text


async def echo(request, context):
    return request


async def thrice(request, context):
    for number in range(3):
        yield text(f"{request.value}{number}")


async def thrice_written(request, context):
    for number in range(3):
        await context.write(text(f"{request.value}{number}"))


async def joined(requests, context):
    return text("".join([request.value async for request in requests]))


async def joined_by_reading(requests, context):
    words = []
    while (request := await context.read()) is not grpc.aio.EOF:
        words.append(request.value)
    return text("".join(words))


async def each(requests, context):
    async for request in requests:
        yield request


async def each_written(requests, context):
    async for request in requests:
        await context.write(request)


async def missing(request, context):
    raise NotFound("x")


async def spoken(*words):
    for word in words:
        yield text(word)


async def silence():
    """Nothing, indefinitely: gRPC's client calls it INTERNAL when a status overtakes what it still has to send."""
    await asyncio.Event().wait()
    yield text("")


async def test_a_unary_call_is_answered_and_counted(short_dir):
    async with serving(short_dir, {"M": handler("unary", echo)}) as served:
        assert await served.method("unary", "M")(text("hi")) == text("hi")
    assert served.counted("M") == {"started": 1, "received": 1, "sent": 1, "OK": 1}


@pytest.mark.parametrize("behavior", [thrice, thrice_written])
async def test_a_server_stream_is_answered_and_counted_however_it_is_written(short_dir, behavior):
    async with serving(short_dir, {"M": handler("server", behavior)}) as served:
        answers = [answer.value async for answer in served.method("server", "M")(text("n"))]
    assert answers == ["n0", "n1", "n2"]
    assert served.counted("M") == {"started": 1, "received": 1, "sent": 3, "OK": 1}


@pytest.mark.parametrize("behavior", [joined, joined_by_reading])
async def test_a_client_stream_is_answered_and_counted_however_it_is_read(short_dir, behavior):
    async with serving(short_dir, {"M": handler("client", behavior)}) as served:
        assert await served.method("client", "M")(spoken("a", "b")) == text("ab")
    assert served.counted("M") == {"started": 1, "received": 2, "sent": 1, "OK": 1}


@pytest.mark.parametrize("behavior", [each, each_written])
async def test_a_stream_both_ways_is_answered_and_counted(short_dir, behavior):
    async with serving(short_dir, {"M": handler("bidi", behavior)}) as served:
        assert [answer.value async for answer in served.method("bidi", "M")(spoken("a", "b"))] == ["a", "b"]
    assert served.counted("M") == {"started": 1, "received": 2, "sent": 2, "OK": 1}


async def test_the_handler_is_in_the_callers_namespace_and_in_none_when_it_named_none(short_dir):
    async def where(request, context):
        return text(namespaces.current())

    async with serving(short_dir, {"M": handler("unary", where)}) as served:
        call = served.method("unary", "M")
        first = await call(text(""), metadata=(("containerd-namespace", "k8s.io"),))
        second = await call(text(""))
    assert (first.value, second.value) == ("k8s.io", "")


@pytest.mark.parametrize("shape", ["unary", "server", "client", "bidi"])
async def test_an_error_of_ours_becomes_its_status_in_every_shape(short_dir, shape):
    async def single(request, context):
        await heard(request)
        raise NotFound('lease "l1"')

    async def stream(request, context):
        await heard(request)
        yield text("one")
        raise NotFound('lease "l1"')

    async def heard(request):
        # gRPC's client calls it INTERNAL when a status overtakes what it still has to send.
        if shape in ("client", "bidi"):
            async for _ in request:
                pass

    behavior = stream if shape in ("server", "bidi") else single
    async with serving(short_dir, {"M": handler(shape, behavior)}) as served:
        call = served.method(shape, "M")(text("") if shape in ("unary", "server") else spoken("a"))
        assert await refused(call) == ("NOT_FOUND", 'lease "l1": not found')
    assert served.counted("M")["NotFound"] == 1
    assert "OK" not in served.counted("M")


async def test_an_error_is_counted_before_its_caller_is_told(short_dir):
    """A caller that sees a refusal may read the counters next."""
    layer = InterceptorLayer(Counters())
    inner = layer.wrap(f"/{SERVICE}/M", handler("unary", missing))

    class Watched:
        """A context of gRPC's, and what was counted when the status was sent."""

        def __init__(self, context):
            self._context = context

        def __getattr__(self, name):
            return getattr(self._context, name)

        async def abort(self, *status):
            counted.append(layer.counters.method(f"/{SERVICE}/M", MethodType.UNARY).handled[Code.NOT_FOUND])
            await self._context.abort(*status)

    async def watched(request, context):
        return await inner.unary_unary(request.SerializeToString(), Watched(context))

    counted = []
    async with serving(short_dir, {"M": handler("unary", watched)}) as served:
        assert await refused(served.method("unary", "M")(text(""))) == ("NOT_FOUND", "x: not found")
    assert counted == [1]


async def test_an_error_nobody_foresaw_is_unknown_by_its_class_and_logged_with_its_place(short_dir, caplog):
    async def broken(request, context):
        raise KeyError("x")

    async with serving(short_dir, {"M": handler("unary", broken)}) as served:
        assert await refused(served.method("unary", "M")(text(""))) == ("UNKNOWN", "KeyError: 'x'")
    assert served.counted("M")["Unknown"] == 1
    fields = next(record.fields for record in caplog.records if record.getMessage() == "handler failed")
    assert fields["method"] == f"/{SERVICE}/M"
    assert "test_layer.py" in fields["at"]


async def test_an_error_of_ours_is_no_news_for_the_log(short_dir, caplog):
    with caplog.at_level(logging.INFO):
        async with serving(short_dir, {"M": handler("unary", missing)}) as served:
            await refused(served.method("unary", "M")(text("")))
    assert [record.getMessage() for record in caplog.records] == []


async def test_details_of_an_error_travel_in_the_standard_trailer_beside_the_handlers_own(short_dir):
    from google.protobuf.any_pb2 import Any

    detail = Any()
    detail.Pack(text("more"))

    async def broken(request, context):
        context.set_trailing_metadata((("mine", "kept"),))
        raise from_status(9, "not now", (detail,))

    async with serving(short_dir, {"M": handler("unary", broken)}) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.method("unary", "M")(text(""))
    trailers = dict(tuple(caught.value.trailing_metadata()))
    status = Status.FromString(trailers["grpc-status-details-bin"])
    assert trailers["mine"] == "kept"
    assert (status.code, status.message, status.details[0]) == (9, "not now", detail)


async def test_a_long_sentence_with_details_reaches_the_caller_with_both(short_dir):
    async def wordy(request, context):
        raise FailedPrecondition("é" * 20_000, reason="KERNEL_REFUSED", field="a")

    async with serving(short_dir, {"M": handler("unary", wordy)}) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.method("unary", "M")(text(""))
    status = Status.FromString(dict(tuple(caught.value.trailing_metadata()))["grpc-status-details-bin"])
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (status.message, len(status.details)) == (caught.value.details(), 2)


async def test_a_sentence_longer_than_a_header_may_be_is_cut_and_keeps_its_code(short_dir):
    async def wordy(request, context):
        raise FailedPrecondition(request.value * 20_000)

    async with serving(short_dir, {"M": handler("unary", wordy)}) as served:
        for character in ("a", "é", "%", "\n", "🐘"):
            code, words = await refused(served.method("unary", "M")(text(character)))
            assert code == "FAILED_PRECONDITION"
            assert words.startswith(character * 300)
            assert words.endswith("…")


async def test_a_file_name_that_is_not_utf_8_does_not_keep_the_answer_from_the_caller(short_dir):
    async def named(request, context):
        raise NotFound("/run/\udcff")

    async with serving(short_dir, {"M": handler("unary", named)}) as served:
        assert await refused(served.method("unary", "M")(text(""))) == ("NOT_FOUND", r"/run/\xff: not found")


async def test_a_handler_that_aborts_is_counted_under_the_code_it_gave(short_dir):
    async def aborting(request, context):
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    async def aborting_stream(request, context):
        yield text("one")
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    methods = {"U": handler("unary", aborting), "S": handler("server", aborting_stream)}
    async with serving(short_dir, methods) as served:
        assert await refused(served.method("unary", "U")(text(""))) == ("RESOURCE_EXHAUSTED", "full")
        assert await refused(served.method("server", "S")(text(""))) == ("RESOURCE_EXHAUSTED", "full")
    assert served.counted("U") == {"started": 1, "received": 1, "ResourceExhausted": 1}
    assert served.counted("S") == {"started": 1, "received": 1, "sent": 1, "ResourceExhausted": 1}


async def test_a_handler_that_sets_a_code_is_counted_under_it_and_its_reply_is_not_sent(short_dir):
    async def setting(request, context):
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("torn")
        return request

    async with serving(short_dir, {"M": handler("unary", setting)}) as served:
        assert await refused(served.method("unary", "M")(text(""))) == ("DATA_LOSS", "torn")
    assert served.counted("M") == {"started": 1, "received": 1, "DataLoss": 1}


async def test_a_code_set_before_raising_names_the_outcome(short_dir):
    async def setting(request, context):
        context.set_code(grpc.StatusCode.OUT_OF_RANGE)
        raise ValueError("past the end")

    async with serving(short_dir, {"M": handler("unary", setting)}) as served:
        assert await refused(served.method("unary", "M")(text(""))) == ("OUT_OF_RANGE", "past the end")
    assert served.counted("M")["OutOfRange"] == 1


async def test_a_handler_that_hides_its_own_abort_still_ends_as_it_aborted(short_dir):
    async def hiding(request, context):
        try:
            await context.abort(grpc.StatusCode.ABORTED, "stop")
        except grpc.aio.AbortError:
            raise ValueError("something else") from None

    async with serving(short_dir, {"M": handler("unary", hiding)}) as served:
        assert await refused(served.method("unary", "M")(text(""))) == ("ABORTED", "stop")
    assert served.counted("M")["Aborted"] == 1


@pytest.mark.parametrize("shape", ["unary", "server", "client", "bidi"])
async def test_junk_is_answered_as_grpc_go_answers_it_and_counted(short_dir, shape):
    async def single(request, context):
        return text("") if shape == "unary" else await joined(request, context)

    behavior = {"server": thrice, "bidi": each}.get(shape, single)

    async def junk():
        yield b"\xff\xff"

    async with serving(short_dir, {"M": handler(shape, behavior)}) as served:
        call = served.method(shape, "M", raw=True)
        code, words = await refused(call(b"\xff\xff") if shape in ("unary", "server") else call(junk()))
    assert code == "INTERNAL"
    assert words.startswith("grpc: error unmarshalling request: ")
    assert served.counted("M") == {"started": 1, "received": 1, "Internal": 1}


async def test_a_reply_of_the_wrong_type_is_internal(short_dir):
    async def nothing(request, context):
        return None

    async def nothings(request, context):
        yield None

    methods = {"U": handler("unary", nothing), "S": handler("server", nothings)}
    async with serving(short_dir, methods) as served:
        for shape, name in (("unary", "U"), ("server", "S")):
            code, words = await refused(served.method(shape, name)(text("")))
            assert code == "INTERNAL"
            assert words.startswith("grpc: error while marshaling: ")


@pytest.mark.parametrize("shape", ["unary", "server", "client", "bidi"])
async def test_a_caller_who_gives_up_cancels_the_handler_and_counts_as_canceled(short_dir, shape):
    began, ended = asyncio.Event(), asyncio.Event()

    async def single(request, context):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def stream(request, context):
        yield text("one")
        await single(request, context)

    async def silent():
        await asyncio.Event().wait()
        yield text("")

    behavior = stream if shape in ("server", "bidi") else single
    async with serving(short_dir, {"M": handler(shape, behavior)}) as served:
        call = served.method(shape, "M")(text("") if shape in ("unary", "server") else silent())
        if shape in ("server", "bidi"):
            await call.read()
        else:
            waiting = asyncio.ensure_future(call.code())
        await began.wait()
        call.cancel()
        await ended.wait()
        await async_until(lambda: served.counted("M").get("Canceled"))
        if shape in ("unary", "client"):
            await waiting
    assert served.counted("M")["Canceled"] == 1
    assert served.layer.gate.running == 0


async def test_a_client_that_leaves_while_a_message_is_being_sent_ends_the_generator_at_once(short_dir):
    ended = asyncio.Event()

    async def flood(request, context):
        try:
            while True:
                yield text("x" * 100_000)
        finally:
            ended.set()

    async with serving(short_dir, {"M": handler("server", flood)}) as served:
        call = served.method("server", "M")(text(""))
        await call.read()  # and no more: the rest fills the connection's window, and the handler waits in a write
        before = -1
        while before != (before := served.counted("M")["sent"]):
            await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.wait_for(ended.wait(), PATIENCE_S)
        await async_until(lambda: served.counted("M").get("Canceled"))


async def test_a_deadline_that_passes_counts_as_deadline_exceeded(short_dir):
    async def slow(request, context):
        await asyncio.Event().wait()

    async def slow_stream(request, context):
        yield text("one")
        await asyncio.Event().wait()

    methods = {"U": handler("unary", slow), "S": handler("server", slow_stream)}
    async with serving(short_dir, methods) as served:
        await served.channel.channel_ready()  # or a deadline may pass before the server hears of the call
        calls = served.method("unary", "U")(text(""), timeout=1), served.method("server", "S")(text(""), timeout=1)
        for answer in await asyncio.gather(*map(refused, calls)):
            assert answer[0] == "DEADLINE_EXCEEDED"
        await async_until(
            lambda: served.counted("U").get("DeadlineExceeded") and served.counted("S").get("DeadlineExceeded")
        )


async def test_a_draining_daemon_refuses_new_calls_ends_streams_and_waits_for_the_rest(short_dir):
    began, go_on = asyncio.Event(), asyncio.Event()

    async def patient(request, context):
        began.set()
        await go_on.wait()
        return request

    async def endless(request, context):
        yield text("one")
        await asyncio.Event().wait()

    methods = {"U": handler("unary", patient), "S": handler("server", endless)}
    async with serving(short_dir, methods) as served:
        unary = asyncio.ensure_future(_awaited(served.method("unary", "U")(text("kept"))))
        stream = served.method("server", "S")(text(""))
        await stream.read()
        await began.wait()
        drain = asyncio.ensure_future(served.layer.gate.drain(10))
        assert await refused(stream) == ("UNAVAILABLE", "holdfast is shutting down: unavailable")
        assert (await refused(served.method("unary", "U")(text(""))))[0] == "UNAVAILABLE"
        assert not drain.done()
        go_on.set()
        assert await unary == text("kept")
        assert await drain == 0
    assert served.counted("U") == {"started": 2, "received": 1, "sent": 1, "OK": 1, "Unavailable": 1}
    assert served.counted("S")["Unavailable"] == 1


@pytest.mark.parametrize("behavior", [thrice, thrice_written])
async def test_a_drain_in_the_middle_of_a_message_still_tells_the_caller(short_dir, behavior):
    """gRPC would refuse the status of a call whose first message was cancelled on its way."""
    layer = InterceptorLayer(Counters())
    inner = layer.wrap(f"/{SERVICE}/M", handler("server", behavior))

    class Slow:
        """A context of gRPC's; a drain begins while its first message is on its way."""

        def __init__(self, context):
            self._context = context

        def __getattr__(self, name):
            return getattr(self._context, name)

        async def write(self, message):
            drains.append(asyncio.ensure_future(layer.gate.drain(10)))
            await self._context.write(message)

    async def watched(request, context):
        await inner.unary_stream(request.SerializeToString(), Slow(context))

    drains = []
    async with serving(short_dir, {"M": handler("server", watched)}) as served:
        stream = served.method("server", "M")(text("a"))
        assert await stream.read() == text("a0")
        assert await refused(stream) == ("UNAVAILABLE", "holdfast is shutting down: unavailable")
        assert [await drain for drain in drains] == [0]


async def _awaited(call):
    return await call


async def test_more_calls_than_allowed_are_refused_with_the_settings_name(short_dir):
    began, go_on = asyncio.Event(), asyncio.Event()

    async def patient(request, context):
        began.set()
        await go_on.wait()
        return request

    layer = InterceptorLayer(Counters(), Gate(limit=1))
    async with serving(short_dir, {"M": handler("unary", patient)}, layer=layer) as served:
        first = asyncio.ensure_future(_awaited(served.method("unary", "M")(text("a"))))
        await began.wait()
        code, words = await refused(served.method("unary", "M")(text("b")))
        assert code == "RESOURCE_EXHAUSTED"
        assert "grpc.max_concurrent_rpcs" in words
        go_on.set()
        assert await first == text("a")
        assert await served.method("unary", "M")(text("c")) == text("c")


async def test_a_message_over_the_limit_is_resource_exhausted(short_dir):
    options = [("grpc.max_receive_message_length", 1024), ("grpc.max_send_message_length", 2048)]

    async def grown(request, context):
        return text(request.value * 10)

    async with serving(short_dir, {"M": handler("unary", grown)}, options=options) as served:
        code, words = await refused(served.method("unary", "M")(text("x" * 2000)))
        assert code == "RESOURCE_EXHAUSTED"
        assert "larger than max" in words
        code, words = await refused(served.method("unary", "M")(text("x" * 1000)))
        assert code == "RESOURCE_EXHAUSTED"
        assert "larger than max" in words
        assert (await served.method("unary", "M")(text("x"))).value == "x" * 10


def _generated_base():
    """Return a generated servicer's open method: blocking, in a module called …_pb2_grpc."""

    def M(self, request, context):
        context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        raise NotImplementedError("Method not implemented!")

    M.__module__ = "test.v1.echo_pb2_grpc"
    return type("EchoServicer", (), {"M": M})()


@pytest.mark.parametrize("shape", ["unary", "server", "client", "bidi"])
async def test_a_method_the_plugin_leaves_open_is_unimplemented_and_counted(short_dir, shape):
    async with serving(short_dir, {"M": handler(shape, _generated_base().M)}) as served:
        call = served.method(shape, "M")(text("") if shape in ("unary", "server") else silence())
        assert await refused(call) == ("UNIMPLEMENTED", "method M not implemented")
    assert served.counted("M")["Unimplemented"] == 1


@pytest.mark.parametrize("shape", ["unary", "server", "client", "bidi"])
def test_a_blocking_handler_is_refused_with_what_to_do(shape):
    def blocking(request, context):
        return request

    with pytest.raises(MisusedPlugin, match=r"/test.v1.Echo/M: .*blocking must be an `async def`.*asyncio.to_thread"):
        InterceptorLayer(Counters()).wrap(f"/{SERVICE}/M", handler(shape, blocking))


def test_a_generator_where_one_reply_is_due_is_refused():
    with pytest.raises(MisusedPlugin):
        InterceptorLayer(Counters()).wrap(f"/{SERVICE}/M", handler("unary", thrice))


async def test_the_histogram_observes_every_call(short_dir):
    layer = InterceptorLayer(Counters(histogram=True))
    async with serving(short_dir, {"M": handler("unary", echo)}, layer=layer) as served:
        for _ in range(3):
            await served.method("unary", "M")(text(""))
    method = layer.counters.method(f"/{SERVICE}/M", None)
    assert sum(method.seconds.counts) == 3
    assert 0 < method.seconds.total < 3


async def test_a_handler_without_serializers_is_handed_bytes(short_dir):
    async def length(request, context):
        return b"%d" % len(request)

    methods = {"M": grpc.unary_unary_rpc_method_handler(length)}
    async with serving(short_dir, methods) as served:
        assert await served.method("unary", "M", raw=True)(b"four") == b"4"


async def test_a_peer_without_a_grant_is_refused_before_the_handler_runs(short_dir):
    ran = []

    async def never(request, context):
        ran.append(request)
        return request

    def policy(full_method):
        def authorize(context):
            raise FailedPrecondition(full_method)

        return authorize

    async with serving(short_dir, {"M": handler("unary", never)}, policy=policy) as served:
        code, words = await refused(served.method("unary", "M")(text("")))
    assert (code, words) == ("FAILED_PRECONDITION", f"/{SERVICE}/M: failed precondition")
    assert ran == []


async def test_each_call_has_its_own_namespace_even_when_they_overlap(short_dir):
    both = asyncio.Barrier(2)

    async def where(request, context):
        async with both:
            return text(namespaces.current())

    async with serving(short_dir, {"M": handler("unary", where)}) as served:
        call = served.method("unary", "M")
        answers = await asyncio.gather(
            *(_awaited(call(text(""), metadata=(("containerd-namespace", name),))) for name in ("one", "two"))
        )
    assert [answer.value for answer in answers] == ["one", "two"]


async def test_a_handler_that_outlives_the_server_does_no_harm(short_dir):
    began, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(request, context):
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await go_on.wait()
            done.set()
            raise NotFound("late") from None

    async with serving(short_dir, {"M": handler("unary", stubborn)}) as served:
        call = asyncio.ensure_future(refused(served.method("unary", "M")(text(""))))
        await began.wait()
        await served.server.stop(0)
        assert (await call)[0] == "UNAVAILABLE"
        go_on.set()
        await done.wait()
        await async_until(lambda: served.counted("M").get("NotFound"))


def test_wrapping_keeps_the_shape():
    for shape, flags in {"unary": (0, 0), "server": (0, 1), "client": (1, 0), "bidi": (1, 1)}.items():
        behavior = {"server": thrice, "bidi": each}.get(shape, echo)
        wrapped = InterceptorLayer(Counters()).wrap(f"/{SERVICE}/M", handler(shape, behavior, Int32Value))
        assert (wrapped.request_streaming, wrapped.response_streaming) == tuple(map(bool, flags))


def test_internal_is_what_a_broken_codec_raises():
    layer = InterceptorLayer(Counters())
    wrapped = layer.wrap(f"/{SERVICE}/M", handler("bidi", each))
    with pytest.raises(Internal, match="grpc: error unmarshalling request"):
        wrapped.request_deserializer(b"\xff")
    with pytest.raises(Internal, match="grpc: error while marshaling"):
        wrapped.response_serializer(None)
    assert StringValue.FromString(wrapped.response_serializer(text("a"))) == text("a")
