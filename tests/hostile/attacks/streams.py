"""streams ADDRESS CONNECTIONS STREAMS METHOD [none]: calls that do not end, on many connections, opened repeatedly.

With ``none`` the request of a call never comes. Answers are read and thrown away.
"""

import itertools
import sys

import h2
import stranger

address, connections, streams, method = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode()
request = None if sys.argv[5:] == ["none"] else b""
stranger.become()
peers: dict[int, object] = {}
flood = b"".join(h2.call(2 * number + 1, method, request) for number in range(streams))


def open_one(at: int) -> None:
    try:
        peer = h2.connect(address)
        peer.setblocking(False)
        peer.send(flood)
        peers[at] = peer
    except OSError:
        peers.pop(at, None)


def drain(at: int) -> None:
    peer = peers.get(at)
    try:
        if peer is not None and not peer.recv(1 << 16):
            peer.close()
            peers.pop(at)
    except BlockingIOError:
        pass
    except OSError:
        peers.pop(at)


for turn in itertools.count():
    for at in range(connections):
        if at in peers:
            drain(at)
        else:
            open_one(at)
    if turn == 0:
        stranger.at_work()
