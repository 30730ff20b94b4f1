"""requests PORT CONNECTIONS BYTES: calls whose header announces a message of so many bytes, and never comes whole."""

import struct
import sys
import time

import h2
import stranger

port, number, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
stranger.become()
peers = {}
CHUNK = b"x" * 16_384


def begin(peer, streams: int) -> None:
    for stream in range(1, 2 * streams, 2):
        head = h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.headers(b"/holdfast.placement.v1.Placement/Status"))
        peer.send(head + h2.frame(h2.DATA, 0, stream, b"\0" + struct.pack(">I", size)))


turn = 0
while True:
    for at in range(number):
        try:
            if at not in peers:
                peers[at] = h2.connect(port)
                begin(peers[at], 16)
                peers[at].setblocking(False)
            for stream in range(1, 32, 2):
                peers[at].send(h2.frame(h2.DATA, 0, stream, CHUNK))
        except BlockingIOError:
            pass
        except OSError:
            peers.pop(at, None)
    if turn == 0:
        stranger.at_work()
    turn += 1
    time.sleep(0.001)
