"""What the machine does to a server that nobody attacks: ``control.py`` asks one of its own 20 times a second.

Each line is one answer: when it was asked for (monotonic seconds), and how long it took. The server's work for an
answer is about that of a scrape: a new connection, a few milliseconds of the processor, 64 KiB. SIGTERM ends it after
the answer that it waits for.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

EVERY_S = 0.05
PAGE = b"x" * 65_536


def serve(listener: socket.socket) -> None:
    while True:
        peer, _ = listener.accept()
        with peer:
            peer.recv(1024)
            worked_until = time.thread_time() + 0.002
            while time.thread_time() < worked_until:
                pass
            peer.sendall(PAGE)


def ask(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"?")
        while peer.recv(65_536):
            pass


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    ending: list[bool] = []
    listener = socket.create_server(("127.0.0.1", 0))
    server = os.fork()
    if not server:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        serve(listener)
    print("at work", flush=True)
    while not ending:
        began = time.monotonic()
        ask(listener.getsockname()[1])
        sys.stdout.write(f"{began:.4f} {time.monotonic() - began:.4f}\n")
        sys.stdout.flush()
        time.sleep(EVERY_S)
    os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)


main()
