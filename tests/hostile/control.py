"""Effect of the machine on a server without an attack: ``control.py`` asks one of its own, again and again.

The server is gRPC's, in a process of its own, and gets the requests of a health check: over a new connection.
Each line is one answer: when it was requested (monotonic seconds), how long it took, and how many tasks of the machine
wanted a processor then. SIGTERM ends it after the answer that it waits for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

EVERY_S = 0.05
METHOD = "/control.Control/Ask"


def serve(path: str) -> None:
    import grpc

    async def main() -> None:
        async def answer(request: bytes, context: object) -> bytes:
            return request

        handlers = {"Ask": grpc.unary_unary_rpc_method_handler(answer)}
        server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler("control.Control", handlers)])
        server.add_insecure_port(path)
        await server.start()
        await server.wait_for_termination()

    asyncio.run(main())


def running() -> int:
    with open("/proc/loadavg") as file:
        return int(file.read().split()[3].partition("/")[0])


def main(path: str) -> None:
    ending: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    server = os.fork()  # before gRPC has threads
    if not server:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        serve(path)
    import grpc

    options = [("grpc.use_local_subchannel_pool", 1)]

    def ask() -> None:
        with grpc.insecure_channel(path, options) as channel:
            channel.unary_unary(METHOD)(b"?", timeout=60, wait_for_ready=True)

    ask()
    print("at work", flush=True)
    while not ending:
        began = time.monotonic()
        ask()
        sys.stdout.write(f"{began:.4f} {time.monotonic() - began:.4f} {running()}\n")
        sys.stdout.flush()
        time.sleep(EVERY_S)
    os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)


main(sys.argv[1])
