"""trickle PORT CONNECTIONS: HTTP requests whose head grows by a byte a second, and answers that are never read."""

import socket
import sys
import time

import stranger

port, number = int(sys.argv[1]), int(sys.argv[2])
stranger.become()
peers: list[socket.socket] = []
turn = 0
while True:
    for peer in list(peers):
        try:
            peer.send(b"x")
        except OSError:
            peers.remove(peer)
            peer.close()
    while len(peers) < number:
        try:
            peer = socket.create_connection(("127.0.0.1", port), 5)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            greedy = len(peers) % 2
            peer.send(b"GET /metrics HTTP/1.1\r\n" + (b"Host: x\r\n\r\n" * greedy))
            for _ in range(20 * greedy):
                peer.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            peer.setblocking(False)
            peers.append(peer)
        except OSError:
            break
    if turn == 0:
        stranger.at_work()
    turn += 1
    time.sleep(0.2)
