import asyncio
import logging
import os
import socket

import pytest
from holdfast.errors import PermissionDenied
from holdfast.ttrpc import Client, anyone, require, same_user
from holdfast.ttrpc.handshake import Peer

from tests.unit.ttrpc.harness import Echo, Raw, Stubs, Text, raw_client, served_sockets, serving

ME = Peer(os.getpid(), os.geteuid(), os.getegid())


@pytest.fixture
def pair():
    ends = socket.socketpair()
    yield ends[0]
    for end in ends:
        end.close()


@pytest.mark.parametrize(
    "handshake",
    [anyone, same_user(), same_user(check_gid=False), require(), require(ME.uid), require(gid=ME.gid)],
)
def test_our_own_user_is_admitted_and_known_by_pid_uid_and_gid(pair, handshake):
    assert handshake(pair) == ME


@pytest.mark.parametrize("handshake", [require(ME.uid + 1), require(gid=ME.gid + 1), require(ME.uid, ME.gid + 1)])
def test_another_user_or_group_is_refused(pair, handshake):
    with pytest.raises(PermissionDenied, match="invalid credentials"):
        handshake(pair)


def test_only_a_unix_socket_has_credentials():
    with socket.socket() as tcp:
        assert anyone(tcp) is None
        with pytest.raises(PermissionDenied, match="require unix socket"):
            same_user()(tcp)


def refuse_all(connection):
    raise PermissionDenied("ttrpc: invalid credentials")


async def test_refused_clients_get_not_one_byte_and_are_counted_and_logged_once_a_minute(caplog, monkeypatch):
    async with serving(handshake=refuse_all) as (server, path):
        for turn, number in enumerate((3, 2)):
            now = 1000.0 + 61 * turn
            monkeypatch.setattr("holdfast.ttrpc.server.monotonic", lambda now=now: now)
            for _ in range(number):
                async with raw_client(path) as raw:
                    assert await raw.reader.read() == b""
        assert server.refused == {"limit": 0, "credentials": 5}
    records = [one for one in caplog.records if one.message == "ttrpc: refusing connection after handshake"]
    assert [one.fields["number"] for one in records] == [1, 4]
    record = records[0]
    assert record.levelno == logging.ERROR
    assert record.fields["error"] == "ttrpc: invalid credentials: permission denied"


async def test_after_a_refusal_the_next_client_is_served():
    refusals = iter([True])

    def once(connection):
        if next(refusals, False):
            raise PermissionDenied("not you")
        return anyone(connection)

    service = Echo()
    async with serving(service.register, handshake=once) as (_, path):
        async with raw_client(path) as refused:
            assert await refused.reader.read() == b""
        async with Client(path) as client:
            assert (await Stubs(client).Say(Text(value="hi"))).value == "hi"


async def test_ten_thousand_refusals_leak_no_descriptor():
    async with serving(handshake=refuse_all) as (server, path):
        loop = asyncio.get_running_loop()

        async def refused():
            with socket.socket(socket.AF_UNIX) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, path)
                assert await loop.sock_recv(sock, 1) == b""

        logging.getLogger("holdfast.ttrpc.server").setLevel(logging.CRITICAL)
        try:
            await refused()
            before = served_sockets(path)
            assert len(before) == 1, "the listener"
            for _ in range(200):
                await asyncio.gather(*(refused() for _ in range(50)))
        finally:
            logging.getLogger("holdfast.ttrpc.server").setLevel(logging.NOTSET)
        assert (served_sockets(path), server.connections) == (before, 0)


@pytest.mark.root
@pytest.mark.parametrize(("uid", "gid"), [(65534, 65534), (0, 65534), (65534, 0)])
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
async def test_a_client_of_another_user_or_group_is_refused_at_connect(uid, gid):
    async with serving(handshake=same_user()) as (_, path):
        os.chmod(path, 0o666)
        os.chmod(os.path.dirname(path), 0o711)

        def as_somebody_else():
            child = os.fork()
            if child:
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            try:
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(path)
                    os._exit(0 if sock.recv(1) == b"" else 1)
            except BaseException:
                os._exit(2)

        assert await asyncio.to_thread(as_somebody_else) == 0
        async with raw_client(path) as raw:
            assert isinstance(raw, Raw)
