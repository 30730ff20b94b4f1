"""idle SOURCE PORT CONNECTIONS [BYTES]: open them, say BYTES (hex) or nothing, open those again that are closed.

A SOURCE that is a path is a unix socket to connect to.
"""

import select
import socket
import sys

import stranger

source, port, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
greeting = bytes.fromhex(sys.argv[4] if len(sys.argv) > 4 else "")
stranger.become()
poll = select.epoll()
peers: dict[int, socket.socket] = {}


def connect() -> None:
    try:
        if source.startswith("/"):
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(source)
        else:
            peer = socket.create_connection(("127.0.0.1", port), 5, (source, 0))
        peer.sendall(greeting)
    except OSError:
        return
    peer.setblocking(False)
    poll.register(peer, select.EPOLLIN | select.EPOLLRDHUP)
    peers[peer.fileno()] = peer


while len(peers) < min(number, 64):
    connect()
stranger.at_work()
while True:
    for _ in range(50):
        if len(peers) < number:
            connect()
    for descriptor, event in poll.poll(0.01):
        try:
            alive = not event & (select.EPOLLERR | select.EPOLLHUP) and peers[descriptor].recv(1 << 16)
        except OSError:
            alive = b""
        if not alive:
            poll.unregister(descriptor)
            peers.pop(descriptor).close()
