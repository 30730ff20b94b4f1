"""A gRPC server that answers every method of every service in the same way, for clients that block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
from google.protobuf.message import Message


class Answers(grpc.GenericRpcHandler):
    """``by_method``: message by the last part of a method's name; a list is a stream, and a function makes it from the
    bytes of the request. All others get an empty message, or ``refusal``, a status, if it is set; ``refusals`` has
    those of single methods, ``endless`` the streams that stay open.
    """

    def __init__(self) -> None:
        self.by_method: dict[str, Message | list[Message] | Callable[[bytes], Message | list[Message]]] = {}
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.refusals: dict[str, tuple[grpc.StatusCode, str]] = {}
        self.endless: set[str] = set()
        self.calls: list[str] = []
        self.requests: list[bytes] = []
        self.called = threading.Condition()

    def service(self, handler_call_details):
        method = handler_call_details.method.rpartition("/")[2]

        def answer(request, context):
            with self.called:
                self.calls.append(method)
                self.requests.append(request)
                self.called.notify_all()
            refusal = self.refusals.get(method, self.refusal)
            if refusal is not None:
                context.abort(*refusal)
            found = self.by_method.get(method)
            return found(request) if callable(found) else found

        def streamed(requests, context):
            found = answer(requests, context)
            yield from [b""] if found is None else (one.SerializeToString() for one in found)
            while method in self.endless and context.is_active():
                time.sleep(0.05)

        if method in STREAMS or isinstance(self.by_method.get(method), list):
            return grpc.unary_stream_rpc_method_handler(streamed)
        return grpc.unary_unary_rpc_method_handler(answer, response_serializer=_bytes)


STREAMS = ("Watch", "Subscribe")


def _bytes(answer: Message | None) -> bytes:
    return b"" if answer is None else answer.SerializeToString()


@contextmanager
def answering(address: str) -> Iterator[Answers]:
    """Serve on ``address`` (a gRPC target) until the block ends."""
    answers = Answers()
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[answers])
    server.add_insecure_port(address)
    server.start()
    try:
        yield answers
    finally:
        server.stop(0).wait()
