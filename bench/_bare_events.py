"""The least a grpc.aio server can do to hand events to subscribers: ``python -m bench._bare_events SOCKET``.

Bytes as they came go to a queue a subscriber and from there to its stream: no filter, namespace, bound or layer. What
it delivers is the library's share of the figure; it is nobody's product.
"""

from __future__ import annotations

import asyncio
import sys

import grpc

SERVICE = "containerd.services.events.v1.Events"


async def main(path: str) -> None:
    """Serve until killed."""
    queues: set[asyncio.Queue[bytes]] = set()

    async def publish(request, context):
        for queue in queues:
            queue.put_nowait(request)
        return b""

    async def subscribe(request, context):
        queue = asyncio.Queue()
        queues.add(queue)
        try:
            while True:
                await context.write(await queue.get())
        finally:
            queues.discard(queue)

    methods = {
        "Publish": grpc.unary_unary_rpc_method_handler(publish),
        "Subscribe": grpc.unary_stream_rpc_method_handler(subscribe),
    }
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler(SERVICE, methods)])
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
