import os
import socket
from contextlib import suppress

import pytest
from holdfast.server.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def receiver(request, tmp_path):
    name = str(tmp_path / "n") if request.param == "path" else f"@holdfast-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        yield name, sock


def test_each_state_is_one_datagram(receiver):
    name, sock = receiver
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.status("serving")
    notifier.alive()
    notifier.stopping()
    got = [sock.recv(200) for _ in range(4)]
    assert got == [b"READY=1", b"STATUS=serving", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_reload_carries_the_time_systemd_orders_it_by(receiver):
    name, sock = receiver
    Notifier({"NOTIFY_SOCKET": name}).reloading()
    first, second = sock.recv(200).decode().split("\n")
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert int(second.partition("=")[2]) > 0


def test_without_a_socket_or_with_a_dead_one_nothing_happens(tmp_path):
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time_when_it_is_ours(environ, interval):
    assert Notifier(environ).watchdog_interval_s == interval


def test_a_socket_that_nobody_reads_does_not_hold_the_daemon(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "n"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "n")})
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            with suppress(BlockingIOError):
                for _ in range(10_000):
                    other.sendto(b"X=1", str(tmp_path / "n"))
        notifier.alive()
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            assert all(sock.recv(100) == b"X=1" for _ in range(10_000))
