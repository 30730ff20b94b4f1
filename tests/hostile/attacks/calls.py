"""calls ADDRESS CONNECTIONS CALLS METHOD: so many calls under way on each connection, each followed by the next."""

import asyncio
import sys

import grpc
import stranger

address, connections, calls, method = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
stranger.become()


async def again_and_again(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary(method)
    while True:
        try:
            await call(b"", timeout=60)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.01)


async def main() -> None:
    where = address if ":" in address else f"127.0.0.1:{address}"
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(where, options) for _ in range(connections)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    stranger.at_work()
    await asyncio.gather(*(again_and_again(channel) for channel in channels for _ in range(calls)))


asyncio.run(main())
