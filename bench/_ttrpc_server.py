"""The servers `bench.ttrpc` measures, each in a process of its own: ``python -m bench._ttrpc_server KIND SOCKET``."""

import asyncio
import gc
import socket
import sys

import grpc
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from holdfast.ttrpc import Method, Server, same_user

SERVICE = "test.Echo"
GRPC_OPTIONS = [("grpc.max_receive_message_length", 1 << 30), ("grpc.max_send_message_length", 1 << 30)]


async def say(request, call):
    return request


async def big(request, call):
    return BytesValue(value=bytes(request.value))


async def stuck(requests, call):
    await asyncio.get_running_loop().create_future()
    yield StringValue()


async def ttrpc(path):
    server = Server(handshake=same_user())
    server.register(
        SERVICE,
        {
            "Say": Method(say, StringValue, StringValue),
            "Big": Method(big, Int64Value, BytesValue),
            "Stuck": Method(stuck, StringValue, StringValue, client_streaming=True, server_streaming=True),
        },
    )
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("serving", flush=True)
    await server.serve(listener)


async def grpc_aio(path):
    server = grpc.aio.server(options=GRPC_OPTIONS)
    shapes = (("Say", say, StringValue, StringValue), ("Big", big, Int64Value, BytesValue))
    methods = {
        name: grpc.unary_unary_rpc_method_handler(handler, request.FromString, reply.SerializeToString)
        for name, handler, request, reply in shapes
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    print("serving", flush=True)
    await server.wait_for_termination()


def echo(path):
    """No protocol: what comes goes back. What a round trip costs when only the kernel takes part."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("serving", flush=True)
    while True:
        client, _ = listener.accept()
        with client:
            while data := client.recv(1 << 12):
                client.sendall(data)


def main():
    kind, path = sys.argv[1:]
    if kind == "echo":
        echo(path)
    gc.freeze()
    if kind == "ttrpc-uvloop":
        import uvloop

        uvloop.run(ttrpc(path))
    else:
        asyncio.run({"ttrpc": ttrpc, "grpc": grpc_aio}[kind](path))


if __name__ == "__main__":
    main()
