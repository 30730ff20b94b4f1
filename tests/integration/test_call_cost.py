"""What a call costs, in counts that no other load on the machine changes: functions called by our own code, and memory.

Counted by the interpreter's profiling hook in frames of ours alone, so what grpc, protobuf and asyncio do inside is not
in it, but every call of them by us is. A count over its budget is a regression: find the call, or raise the budget in
the same change that says why each call of every node is worth it. Time is `make bench`'s.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path

import holdfast
import pytest
from holdfast.rpc import Counters, Layer
from holdfast.rpc.spans import Tracing
from holdfast.server.ttrpc_layer import intercept
from holdfast.ttrpc import Client, Metadata
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.unit.rpc.serving import handler
from tests.unit.rpc.serving import serving as grpc_serving
from tests.unit.rpc.serving import text as grpc_text
from tests.unit.ttrpc.harness import Echo, Stubs, Text
from tests.unit.ttrpc.harness import serving as ttrpc_serving

OURS = str(Path(holdfast.__file__).parent)
CALLS = 200
RECORDED, NOT_RECORDED = 1.0, 0.0
#: Functions called by our code for one unary call: Prometheus with the histogram, namespace, gate, tracing not sampled.
LAYER = 25
RECORDING = 11  # more, for a span that is made
METADATA = 9
SERVER_AND_CLIENT = (
    138 if sys.version_info < (3, 13) else 140
)  # of ttrpc, both ends, deadline and metadata on, without the layer
#: Blocks of memory after `CALLS` more calls, all of them together: one kept of each would be as many as they. Python's
#: own caches still grow in the first thousand calls.
LEFT = 40


def traced(ratio):
    tracing = Tracing([SimpleSpanProcessor(InMemorySpanExporter())], lambda share, follow: (True, ratio))
    return Layer(Counters(histogram=True), tracing=tracing)


@contextmanager
def counting():
    """Which functions our frames call, in this thread."""
    counts = Counter()

    def note(frame, event, argument):
        if event == "c_call" and frame.f_code.co_filename.startswith(OURS):
            counts[f"{frame.f_code.co_qualname} calls {argument.__name__}"] += 1
        elif event == "call" and frame.f_code.co_filename.startswith(OURS):
            counts[f"{frame.f_code.co_qualname} runs"] += 1

    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(None)


async def cost(call):
    """Functions called for one call, once everything is warm; and what they are."""
    for _ in range(20):
        await call()
    with counting() as counts:
        for _ in range(CALLS):
            await call()
    per_call = {name: count / CALLS for name, count in counts.most_common() if count >= CALLS / 2}
    return sum(per_call.values()), per_call


async def echo(request, context):
    return request


@asynccontextmanager
async def grpc_call(directory, layer):
    methods = {"M": handler("unary", echo)}
    async with grpc_serving(directory, methods, layer=layer) as served:
        method, request = served.method("unary", "M"), grpc_text("hi")

        async def call():
            await method(request, metadata=(("containerd-namespace", "default"),), timeout=10)

        yield call


@asynccontextmanager
async def ttrpc_call(layer):
    interceptors = [intercept(layer)] if layer is not None else []
    async with ttrpc_serving(Echo().register, interceptors=interceptors) as (_, path), Client(path) as client:
        say, request = Stubs(client).Say, Text(value="hi")
        metadata = Metadata({"containerd-namespace-ttrpc": ["default"]})

        async def call():
            await say(request, timeout=10, metadata=metadata)

        yield call


@pytest.mark.parametrize(("ratio", "budget"), [(NOT_RECORDED, LAYER), (RECORDED, LAYER + RECORDING)])
async def test_the_layer_of_a_grpc_call_stays_within_its_budget(short_dir, ratio, budget):
    async with grpc_call(short_dir, traced(ratio)) as call:
        number, made = await cost(call)
    assert number <= budget, made


async def test_a_ttrpc_call_stays_within_its_budget():
    async with ttrpc_call(None) as call:
        number, made = await cost(call)
    assert number <= SERVER_AND_CLIENT, made


async def test_the_layer_of_a_ttrpc_call_stays_within_its_budget():
    """More than gRPC's: the metadata is read here, there by grpc."""
    async with ttrpc_call(None) as call:
        bare, _ = await cost(call)
    async with ttrpc_call(traced(NOT_RECORDED)) as call:
        layered, made = await cost(call)
    assert layered - bare <= LAYER + METADATA, made


async def test_the_number_of_registered_methods_costs_a_call_nothing(short_dir):
    numbers = []
    for count in (1, 200):
        methods = {f"M{number}": handler("unary", echo) for number in range(count)}
        async with grpc_serving(short_dir, methods, layer=traced(NOT_RECORDED)) as served:
            method = served.method("unary", f"M{count - 1}")
            numbers.append((await cost(lambda method=method: method(grpc_text("hi"))))[0])
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("transport", ["grpc", "ttrpc"])
async def test_nothing_is_kept_of_a_call(short_dir, transport):
    layer = traced(NOT_RECORDED)
    async with grpc_call(short_dir, layer) if transport == "grpc" else ttrpc_call(layer) as call:
        left = []
        for _ in range(12):
            for _ in range(CALLS):
                await call()
            gc.collect()
            left.append(sys.getallocatedblocks())
    assert min(after - before for before, after in pairwise(left)) <= LEFT, left
