"""Coverage-guided fuzzing of ttrpc's protocol core: ``make fuzz`` (FRAMES=10000000 to stop after so many frames).

An input is a little program: four bytes choose a frame's id, type, flags and body, and what the driver does in
between. Both ends are fed; what must hold after every frame is asserted. Each input is also fed as raw bytes, in
pieces, and read as a request by our reader and by protobuf, which must agree.
"""

import contextlib
import os
import struct
import sys
import time
from math import inf
from types import SimpleNamespace

import atheris

with atheris.instrument_imports(include=["holdfast.ttrpc", "holdfast.errors"]):
    from holdfast.errors import Code, PeerBrokeProtocol
    from holdfast.ttrpc import envelope
    from holdfast.ttrpc.client_connection import ClientConnection
    from holdfast.ttrpc.connection import StreamEvent
    from holdfast.ttrpc.frame import FrameReader
    from holdfast.ttrpc.server_connection import CallRefused, ServerConnection
    from holdfast.ttrpc.streams import Kind, Limits, StreamState

LIMITS = Limits(concurrent_calls=5, stream_bytes=400, connection_bytes=1500)
KINDS = list(Kind)
METHODS = {kind.value: SimpleNamespace(kind=kind) for kind in KINDS}
BODIES = [
    b"",
    b"x",
    b"\xff",
    envelope.encode_failure(5, "gone"),
    envelope.encode_response(b"payload"),
    *(envelope.encode_request("s", kind.value, b"\x0a\x01x") for kind in KINDS),
    *(envelope.encode_request("s", kind.value, b"", nano) for kind in KINDS for nano in (-1, 7)),
    envelope.encode_request("s", "nope", b"", 0, {"k": ("a", "b")}),
]


def resolve(data):
    _, method, parts = envelope.decode_request(data)
    if method not in METHODS:
        raise CallRefused(Code.UNIMPLEMENTED, f"method {method}")
    return METHODS[method], parts


def body_of(choice, data, at):
    return BODIES[choice % len(BODIES)] if choice < 192 else data[at : at + choice - 191]


def frames_of(data):
    """The frames an input spells, each with the byte that selects what the driver does after it."""
    for at in range(0, len(data) - 3, 4):
        who, kind, choice, then = data[at : at + 4]
        stream_id = who % 24 if who < 250 else 0xFFFFFFFF - (who - 250)
        body = body_of(choice, data, at)
        yield struct.pack(">IIBB", len(body), stream_id, kind % 5, kind // 32) + body, then


def drive(server, stream, what):
    """Do what a handler might."""
    if what == 0:
        server.respond(stream, b"reply")
    elif what == 1:
        server.send(stream, b"message")
        server.finish(stream)
    elif what == 2:
        server.fail(stream, 2, "no")
    else:
        stream.take()


def serve(data):
    server, now = ServerConnection(resolve, LIMITS), 0.0
    for frame, then in frames_of(data):
        now += 1e-9
        for event, stream in server.receive(frame, now):
            assert (event is StreamEvent.ENDED) == (stream.state is StreamState.ENDED)
        if then < 64 and server.streams:
            drive(server, next(iter(server.streams.values())), then % 4)
        elif then == 255:
            server.expire(now)
        assert 0 <= server.held_bytes <= LIMITS.connection_bytes
        assert len(server.streams) <= LIMITS.concurrent_calls
        assert all(stream.state in (StreamState.OPEN, StreamState.HALF_CLOSED) for stream in server.streams.values())
        assert server.earliest <= min((stream.deadline for stream in server.streams.values()), default=inf)
        server.take_outgoing()
    server.lose()
    assert (server.held_bytes, server.streams) == (0, {})


def call(data):
    client, streams = ClientConnection(LIMITS), []
    for frame, then in frames_of(data):
        if then < 64 and len(client.streams) < LIMITS.concurrent_calls:
            streams.append(client.open(b"", KINDS[then % 4], inf))
        elif then < 96 and client.streams:
            client.abandon(next(iter(client.streams.values())))
        for event, stream in client.receive(frame):
            assert (
                (event is StreamEvent.ENDED) == (stream.state is StreamState.ENDED) == (stream.id not in client.streams)
            )
            if stream.state is StreamState.ENDED and stream.error is None and not stream.kind.server_streaming:
                assert stream.answer is not None
        client.take_outgoing()
    client.lose()
    for stream in streams:
        while stream.take() is not None:
            pass
    assert client.held_bytes == 0


def raw(data):
    reader, whole = FrameReader(), FrameReader().feed(data)
    cut = data[0] % 16 + 1 if data else 1
    assert [frame for at in range(0, len(data), cut) for frame in reader.feed(data[at : at + cut])] == whole
    with contextlib.suppress(PeerBrokeProtocol):
        envelope.decode_request(data[:200])
    with contextlib.suppress(PeerBrokeProtocol):
        envelope.decode_response(data[:200])


class Fuzzer:
    """Counts frames, and ends the run when there were enough."""

    def __init__(self, enough):
        self.enough, self.frames, self.inputs, self.began = enough, 0, 0, time.monotonic()

    def __call__(self, data):
        serve(data)
        call(data)
        raw(data)
        self.frames += 2 * (len(data) // 4)
        self.inputs += 1
        if self.frames >= self.enough:
            seconds = time.monotonic() - self.began
            print(f"fuzz: {self.frames:,} frames in {self.inputs:,} inputs, {seconds:.0f} s, nothing found", flush=True)  # noqa: T201
            os._exit(0)


def main():
    fuzzer = Fuzzer(float(os.environ.get("FRAMES", "inf")))
    atheris.Setup([*sys.argv, "-max_len=2048", "-len_control=0"], fuzzer)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
