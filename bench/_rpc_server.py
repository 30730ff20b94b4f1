"""One server for ``bench.rpc``: an echo behind nothing, behind our layer, or behind the usual libraries.

    python bench/_rpc_server.py CHAIN SOCKET [--methods N] [--ratio R] [--loop L] [--batch]

Run by path, so that the libraries' server can run in an environment of its own. Prints ``ready`` and serves until it is
ended. ``bare`` is grpc.aio with one generic handler, which is the fastest it can be.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

import grpc
from google.protobuf.wrappers_pb2 import StringValue

PER_SERVICE = 10


async def echo(request, context):
    return request


def services(methods: int) -> dict[str, dict[str, object]]:
    """Ten methods a service, all the same echo; the last one, which is the one called, is ``Echo``."""
    names = [f"Method{number}" for number in range(methods - 1)] + ["Echo"]
    found: dict[str, dict[str, object]] = {}
    for number, name in enumerate(names):
        service = "bench.v1.Last" if name == "Echo" else f"bench.v1.Service{number // PER_SERVICE}"
        found.setdefault(service, {})[name] = grpc.unary_unary_rpc_method_handler(
            echo, StringValue.FromString, StringValue.SerializeToString
        )
    return found


def add_as_generated_code_does(server: object, methods: int) -> None:
    for service, handlers in services(methods).items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_registered_method_handlers(service, handlers)


def null_processor():
    """Batches spans as in production, and sends them nowhere."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans):
            return SpanExportResult.SUCCESS

    return BatchSpanProcessor(Nowhere())


def bare(given) -> grpc.aio.Server:
    handlers = [grpc.method_handlers_generic_handler(name, found) for name, found in services(given.methods).items()]
    return grpc.aio.server(handlers=handlers)


def ours(given) -> grpc.aio.Server:
    from holdfast.plugin.serving import ServingBoard
    from holdfast.plugins.containerd.health import Health
    from holdfast.plugins.containerd.reflection import Reflection
    from holdfast.rpc import Counters, GrpcRegistrar, InterceptorLayer

    tracing = None
    if given.ratio is not None:
        from holdfast.rpc.spans import CallTracing

        tracing = CallTracing([null_processor()], lambda ratio, follow: (True, given.ratio))
    registrar = GrpcRegistrar(InterceptorLayer(Counters(), tracing=tracing), lambda service: None)
    add_as_generated_code_does(registrar, given.methods)
    Health(ServingBoard()).register_grpc(registrar)
    Reflection().register_grpc(registrar)
    return grpc.aio.server(handlers=[registrar])


def libraries(given) -> grpc.aio.Server:
    from grpc_health.v1 import health, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection
    from opentelemetry.instrumentation.grpc import aio_server_interceptor
    from opentelemetry.sdk.trace import TracerProvider, sampling
    from py_async_grpc_prometheus.prometheus_async_server_interceptor import PromAsyncServerInterceptor

    provider = TracerProvider(sampler=sampling.ParentBased(sampling.TraceIdRatioBased(given.ratio)))
    provider.add_span_processor(null_processor())
    interceptors = [aio_server_interceptor(tracer_provider=provider), PromAsyncServerInterceptor()]
    server = grpc.aio.server(interceptors=interceptors)
    add_as_generated_code_does(server, given.methods)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    reflection.enable_server_reflection(["bench.v1.Last"], server)
    return server


async def serve(given) -> None:
    server = {"bare": bare, "ours": ours, "libraries": libraries}[given.chain](given)
    server.add_insecure_port(f"unix:{given.socket}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chain", choices=["bare", "ours", "libraries"])
    parser.add_argument("socket")
    parser.add_argument("--methods", type=int, default=1)
    parser.add_argument("--ratio", type=float, help="share of calls that is traced; without it tracing is off")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--batch", action="store_true", help="SCHED_BATCH: fewer preemptions by the poller's thread")
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "service"))
    factory = None  # asyncio's own, as of everybody's server
    if given.loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    if given.batch:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(given))


if __name__ == "__main__":
    main()
