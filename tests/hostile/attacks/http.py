"""http SOURCE PORT CONNECTIONS KIND [PATH]: requests as fast as so many connections allow.

SOURCE is the address to connect from; ``*N`` are N addresses of loopback. KIND:

- ``anew``: connect, ask, read the answer's beginning, close
- ``leave``, ``reset``: connect and close at once, without a byte; the second by RST
- ``ask-leave``, ``ask-reset``: the same after a request
- ``kept``: ask again on the same connection as soon as an answer comes
- ``pipelined``: send requests without waiting for answers, which are read
- ``unread``: as ``pipelined``, and no answer is read
- ``lines``: as ``kept``, with heads of 4,000 lines
- ``head``, ``put``, ``gzip``: as ``kept``, with another method, a body, or an answer that is packed
- ``bytes``: as ``kept``, a byte at a time
- ``refused``: a request line that is none, and then bytes without end
"""

import errno
import random
import select
import socket
import struct
import sys
import time

import stranger

source, port, number, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
path = sys.argv[5] if len(sys.argv) > 5 else "/"


def request(method: str = "GET", *lines: str, body: str = "") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", body]).encode()


SAID = {
    "pipelined": request() * 64,
    "unread": request() * 64,
    "lines": request("GET", *["a:"] * 4000),
    "head": request("HEAD"),
    "put": request("PUT", f"Content-Length: {60 << 10}", body="x" * (60 << 10)),
    "gzip": request("GET", "Accept-Encoding: gzip"),
    "refused": b"?\r\n\r\n" + b"x" * (64 << 10),
    "leave": b"",
    "reset": b"",
}
said = SAID.get(kind, request())
RESET = struct.pack("ii", 1, 0)
stranger.become()
poll = select.epoll()
peers: dict[int, socket.socket] = {}
left: dict[int, bytes] = {}  # of what a connection says


def own_address() -> str:
    if not source.startswith("*"):
        return source
    number = random.randrange(int(source[1:]))
    return f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}" if number else "127.255.0.1"


def connect() -> None:
    peer = socket.socket()
    peer.setblocking(False)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if kind == "unread":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    try:
        peer.bind((own_address(), 0))
    except OSError:  # no port is free for a moment
        peer.close()
        return
    if peer.connect_ex(("127.0.0.1", port)) not in (0, errno.EINPROGRESS):
        peer.close()
        return
    peers[peer.fileno()], left[peer.fileno()] = peer, said
    poll.register(peer, select.EPOLLIN | select.EPOLLOUT)


def close(descriptor: int) -> None:
    poll.unregister(descriptor)
    del left[descriptor]
    peer = peers.pop(descriptor)
    if kind.endswith("reset"):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    peer.close()


def speak(descriptor: int) -> None:
    """Send what is left; a connection that has said all of it is closed, read, or says it again."""
    peer, rest = peers[descriptor], left[descriptor]
    if rest:
        rest = rest[peer.send(rest[:1] if kind == "bytes" else rest) :]
    if not rest and kind in ("pipelined", "unread", "refused"):
        rest = said
    left[descriptor] = rest
    if not rest and kind in ("leave", "reset", "ask-leave", "ask-reset"):
        close(descriptor)
    elif not rest:
        poll.modify(descriptor, select.EPOLLIN)


def listen(descriptor: int) -> None:
    if kind == "unread":
        return
    if not peers[descriptor].recv(1 << 18) or kind == "anew":
        close(descriptor)
    elif not left[descriptor]:
        left[descriptor] = said
        poll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)


def serve(descriptor: int, event: int) -> None:
    try:
        if event & (select.EPOLLERR | select.EPOLLHUP):
            close(descriptor)
            return
        if event & select.EPOLLIN:
            listen(descriptor)
        if event & select.EPOLLOUT and descriptor in peers:
            speak(descriptor)
    except OSError:
        close(descriptor)


while len(peers) < min(number, 8):
    connect()
stranger.at_work()
while True:
    for _ in range(200):
        if len(peers) < number:
            connect()
    for descriptor, event in poll.poll(0.01):
        if descriptor in peers:
            serve(descriptor, event)
    if kind == "unread":
        time.sleep(0.01)
