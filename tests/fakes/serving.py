"""A gRPC server of a few plugins' instances in a thread of its own, for clients that block.

It stands in for the daemon's listeners, not for the services: those are the real ones.
"""

import asyncio
import threading
from contextlib import contextmanager

import grpc
from holdfast import namespaces
from holdfast.errors import HoldfastError

from tests.running import PATIENCE_S


class Statuses(grpc.aio.ServerInterceptor):
    """Enters the caller's namespace and turns our errors into statuses."""

    async def intercept_service(self, continuation, details):
        handler = await continuation(details)
        if handler is None:
            return None
        namespace = dict(details.invocation_metadata).get(namespaces.GRPC_HEADER, "")
        streams = handler.response_streaming
        inner = handler.unary_stream if streams else handler.unary_unary

        async def answered(request, context):
            namespaces.enter(namespace)
            try:
                return await inner(request, context)
            except HoldfastError as error:
                codes = {code.value[0]: code for code in grpc.StatusCode}
                await context.abort(codes[int(error.code)], str(error))

        if inner.__module__.startswith("grpc_health"):
            return handler
        return handler._replace(**{"unary_stream" if streams else "unary_unary": answered})


@contextmanager
def serving(address, *instances, also=()):
    """Serve what each instance registers on ``address`` (a gRPC target) until the block ends; yields the loop."""
    loop, up = asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def serve():
        server = grpc.aio.server(interceptors=[Statuses()])
        for instance in instances:
            instance.register_grpc(server)
        for add in also:
            add(server)
        server.add_insecure_port(address)
        await server.start()
        up.set()
        await stop.wait()
        await server.stop(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert up.wait(PATIENCE_S)
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        loop.close()
