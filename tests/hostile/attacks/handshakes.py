"""handshakes PORT KIND: TLS on eight threads: a whole handshake and away again, or a record that comes byte by byte."""

import contextlib
import socket
import ssl
import sys
import threading

import stranger

port, kind = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["h2"])
stranger.become()
RECORD = b"\x16\x03\x01\x40\x00" + bytes(1 << 14)  # the head of a handshake's record of 16 KiB


def once() -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as peer:
        if kind == "whole":
            with context.wrap_socket(peer):
                return
        for at in range(len(RECORD)):
            peer.send(RECORD[at : at + 1])


def again_and_again() -> None:
    while True:
        with contextlib.suppress(OSError):
            once()


for _ in range(8):
    threading.Thread(target=again_and_again, daemon=True).start()
stranger.at_work()
threading.Event().wait()
