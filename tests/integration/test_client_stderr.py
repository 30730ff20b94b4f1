"""The clients' standard error, when the other end of the connection misbehaves: ours is the only line there."""

import socket
import threading

from tests.peers.daemon import ENVIRON, HOLDFAST

SETTINGS = b"\0\0\0\4\0\0\0\0\0"
GOAWAY_INTERNAL_ERROR = b"\0\0\x08\7\0\0\0\0\0" + b"\0\0\0\0\0\0\0\2"


def breaks_off(listener):
    """Answer each connection with an HTTP/2 GOAWAY of INTERNAL_ERROR, of which gRPC's core prints a line of its own."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            if connection.recv(1000):
                connection.sendall(SETTINGS + GOAWAY_INTERNAL_ERROR)
                while connection.recv(1000):
                    pass


def test_grpcs_own_lines_stay_out_of_a_commands_stderr(start):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=breaks_off, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        events = start([*HOLDFAST, "version", "--timeout", "5", "-a", f"tcp://127.0.0.1:{port}"], env=ENVIRON)
        assert events.end() == 3
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert len(events.err) == 1
    assert events.err[0].startswith(f"holdfast: tcp://127.0.0.1:{port}: ")
