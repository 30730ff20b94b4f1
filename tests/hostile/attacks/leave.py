"""leave PORT HEX: connect to a port of loopback, send the bytes and leave at once, in a loop on eight threads."""

import contextlib
import socket
import sys
import threading

import stranger

port, said = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
stranger.become()


def leave() -> None:
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as peer:
            peer.sendall(said)


for _ in range(8):
    threading.Thread(target=leave, daemon=True).start()
stranger.at_work()
threading.Event().wait()
