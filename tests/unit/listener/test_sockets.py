import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from holdfast.errors import BootError
from holdfast.listener.sockets import Owner, UnixSocket, listen_tcp, listen_unix, refuse_if_taken, split_address

from tests.running import PATIENCE_S

NOBODY = Owner()


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        yield Path(folder)


def published(path, owner=NOBODY):
    return UnixSocket("main endpoint", str(path), owner)


def test_a_socket_appears_listening_and_0660_whatever_the_umask(directory):
    before = os.umask(0)
    try:
        sock = listen_unix(published(directory / "s"))
    finally:
        os.umask(before)
    with sock, socket.socket(socket.AF_UNIX) as client:
        assert stat.S_IMODE(os.stat(directory / "s").st_mode) == 0o660
        client.connect(str(directory / "s"))
        assert os.listdir(directory) == ["s"]


def test_a_missing_directory_is_made_for_all_to_pass_through_whatever_the_umask(directory):
    before = os.umask(0o077)
    try:
        sock = listen_unix(published(directory / "new" / "s"))
    finally:
        os.umask(before)
    with sock:
        assert stat.S_IMODE(os.stat(directory / "new").st_mode) == 0o711


def test_a_path_of_full_length_can_be_bound_although_the_hidden_name_is_longer(directory):
    path = directory / ("x" * (104 - len(str(directory)) - 1))
    with listen_unix(published(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_stale_socket_is_replaced(directory):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / "s"))
    with listen_unix(published(directory / "s")), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(directory / "s"))


def test_a_live_daemons_socket_is_never_taken_and_its_pid_is_named(directory):
    with listen_unix(published(directory / "s")) as first:
        with pytest.raises(BootError) as refused:
            listen_unix(published(directory / "s"))
        assert str(refused.value) == (
            f"failed to get listener for main endpoint: {directory}/s: in use by a running process"
            f" (pid {os.getpid()}); stop it or choose another address"
        )
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(directory / "s"))
            assert first.accept()[0].fileno() >= 0


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.mkdir, "is a directory"),
        (Path.touch, "exists and is not a socket; remove it"),
        (lambda path: path.symlink_to("elsewhere"), "exists and is not a socket; remove it"),
    ],
)
def test_what_is_no_socket_is_left_alone(directory, make, why):
    make(directory / "s")
    with pytest.raises(BootError, match=why):
        listen_unix(published(directory / "s"))
    assert os.listdir(directory) == ["s"]


def test_closing_removes_our_own_socket(directory):
    place = published(directory / "s")
    with listen_unix(place):
        place.close()
    assert os.listdir(directory) == []


def test_closing_leaves_a_successors_socket(directory):
    place = published(directory / "s")
    with listen_unix(place):
        os.unlink(directory / "s")
        with listen_unix(published(directory / "s")):
            place.close()
            assert os.listdir(directory) == ["s"]


def test_an_owner_that_cannot_be_given_is_refused_and_leaves_nothing(directory, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(BootError, match=r"chown to 0:12: Operation not permitted; set uid and gid"):
        listen_unix(published(directory / "s", Owner(0, 12)))
    assert os.listdir(directory) == []


def test_mode_and_owner_never_reach_what_took_the_sockets_place(directory):
    """A root-owned file was handed over: the name led to it by the time of chmod(2) and chown(2)."""
    victim = directory / "secret"
    victim.write_text("x")
    victim.chmod(0o600)
    place = published(directory / "s", Owner(0, 12345))
    hidden = place.open()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(hidden)
        os.unlink(hidden)
        os.symlink(victim, hidden)
        with pytest.raises(BootError, match="another file took the socket's place"):
            place.publish()
    assert (victim.stat().st_mode & 0o777, victim.stat().st_gid) == (0o600, os.getegid())
    place.close()


@pytest.mark.root
@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda path: path.chmod(0o777), "every user may write to {}; chmod o-w it, or use another directory"),
        (
            lambda path: os.chown(path, 65534, -1),
            "{} belongs to uid 65534; use a directory of root's, or chown this one",
        ),
        (lambda path: path.chmod(0o1777), ""),
    ],
)
def test_a_socket_is_not_put_where_another_user_may_exchange_it(directory, prepare, why):
    (directory / "sub").mkdir()
    prepare(directory / "sub")
    if not why:
        listen_unix(published(directory / "sub" / "s")).close()
        return
    with pytest.raises(BootError) as refused:
        listen_unix(published(directory / "sub" / "s"))
    where = directory / "sub"
    assert str(refused.value) == f"failed to get listener for main endpoint: {where}/s: {why.format(where)}"
    assert os.listdir(where) == []


def test_a_directory_that_cannot_be_made_is_named(directory):
    (directory / "file").touch()
    with pytest.raises(BootError, match=r"main endpoint: .*/file/s: "):
        listen_unix(published(directory / "file" / "s"))


def test_without_a_host_it_listens_for_both_families():
    with listen_tcp("metrics endpoint", ":0") as sock:
        port = sock.getsockname()[1]
        assert sock.family == (socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET)
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S):
            pass


def test_a_busy_port_is_named_in_containerds_words():
    with listen_tcp("metrics endpoint", "127.0.0.1:0") as first:
        address = f"127.0.0.1:{first.getsockname()[1]}"
        with pytest.raises(BootError) as refused:
            listen_tcp("metrics endpoint", address)
    assert str(refused.value) == (
        f"failed to get listener for metrics endpoint: listen tcp {address}: bind: address already in use"
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), (":80", ("", 80)), ("[::1]:80", ("::1", 80)), ("tcp://h:1", ("h", 1))],
)
def test_addresses_are_host_and_port(address, expected):
    assert split_address("x", address) == expected


@pytest.mark.parametrize(
    ("address", "why"), [("nonsense", "missing port in address"), ("a:b", "invalid port"), ("a:70000", "invalid port")]
)
def test_an_address_that_is_none_is_refused(address, why):
    with pytest.raises(BootError, match=why):
        split_address("TCP grpc endpoint", address)


def test_nothing_there_is_not_taken(directory):
    refuse_if_taken(str(directory / "nothing"))
