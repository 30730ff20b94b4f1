from __future__ import annotations

import socket

import pytest
from holdfast.listener.connections import ConnectionMetrics, Connections
from holdfast.listener.descriptors import RESERVED, Bounds, ConnectionBound
from holdfast.listener.peer import Peers, address_key
from hypothesis import given
from hypothesis import strategies as st

STEPS = st.lists(st.tuples(st.sampled_from(["admit", "touch", "leave"]), st.integers(0, 3), st.integers(0, 30)))


@given(STEPS, st.integers(1, 4), st.integers(1, 8))
def test_the_table_keeps_its_bounds_and_closes_only_what_it_has_to(steps, per_peer, total):
    table = Connections("x", ConnectionBound(total, per_peer), ConnectionMetrics(), kept_s=0)
    model: list[tuple[int, object]] = []  # peer and connection, the quietest first
    closed: list[int] = []
    number = 0

    def of(peer):
        return [entry for entry in model if entry[0] == peer]

    for step, peer, at in steps:
        if step == "admit":
            number, mine = number + 1, of(peer)
            victim = None
            if len(mine) >= per_peer:
                victim = mine[0]
            elif len(model) >= total:
                most = max(len(of(other)) for other, _ in model)
                victims = {id(of(other)[0][1]) for other, _ in model if len(of(other)) == most}
                victim = victims
            before = len(closed)
            made = table.admit(peer, lambda name=number: closed.append(name))
            if victim is None:
                assert len(closed) == before
            else:
                assert len(closed) == before + 1
                gone = next(entry for entry in model if entry[1].name == closed[-1])
                assert gone == victim if isinstance(victim, tuple) else id(gone[1]) in victim
                model.remove(gone)
            model.append((peer, Named(made, number)))
        elif model:
            entry = model[at % len(model)]
            model.remove(entry)
            if step == "touch":
                entry[1].connection.touch()
                model.append(entry)
            else:
                entry[1].connection.leave()
                entry[1].connection.leave()  # twice is once
    assert len(table) == len(model) <= total


class Named:
    def __init__(self, connection, name):
        self.connection, self.name = connection, name


def test_a_peer_that_connects_faster_than_its_connections_are_of_use_is_refused_and_others_are_not():
    metrics, closed = ConnectionMetrics(), []
    table = Connections("x", ConnectionBound(3, 2), metrics, kept_s=1000)
    for name in "ab":
        assert table.admit("many", lambda name=name: closed.append(name)) is not None
    assert table.admit("many", lambda: None) is None
    assert table.admit("one", lambda: None) is not None
    assert closed == []
    assert table.admit("other", lambda: None) is not None
    assert closed == ["a"]
    assert metrics.closed.labels("x", "peer_limit").value == 1
    assert metrics.closed.labels("x", "listener_limit").value == 1
    assert [value for _, value in metrics.open.values()] == [3]


def test_those_that_were_quiet_for_too_long_are_closed_and_counted():
    metrics, closed = ConnectionMetrics(), []
    table = Connections("x", ConnectionBound(8, 8), metrics)
    for name in "abc":
        table.admit(name, lambda name=name: closed.append(name))
    table.end_quiet(1000)
    assert closed == []
    table.end_quiet(-1)
    assert (closed, len(table)) == (["a", "b", "c"], 0)
    assert metrics.closed.labels("x", "silent").value == 3


@given(st.integers(0, 1 << 20), st.integers(0, 4))
def test_whatever_the_limit_of_descriptors_the_engine_keeps_its_own(limit, others):
    bounds = Bounds.within(limit, others)
    least = Bounds(*[ConnectionBound(2, 1)] * len(Bounds.__struct_fields__)).descriptors(others)
    assert bounds.descriptors(others) <= max(limit - RESERVED, 0) + least
    for name in Bounds.__struct_fields__:
        bound = getattr(bounds, name)
        assert 1 <= bound.per_peer <= bound.total <= getattr(Bounds(), name).total


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_address_is_one_peer_whatever_its_form_and_an_ipv6_network_is_one(address, key):
    assert address_key(address) == key


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_over_loopback_the_peer_is_the_user_behind_the_connection(host):
    import os

    peers = Peers()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server, socket.socket(family) as client:
        client.connect(server.getsockname()[:2])
        with server.accept()[0] as accepted:
            assert peers.of(accepted) == f"uid {os.geteuid()}"
    peers.close()


def test_over_loopback_a_peer_that_has_left_is_nobody_and_not_root():
    peers = Peers()
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            client.sendall(b"GET")
        with server.accept()[0] as accepted, pytest.raises(OSError):  # noqa: PT011
            peers.of(accepted)
    peers.close()


def test_over_a_unix_socket_the_peer_is_the_user_that_connected():
    import os

    peers, (ours, theirs) = Peers(), socket.socketpair()
    with ours, theirs:
        assert peers.of(ours) == f"uid {os.geteuid()}"
    peers.close()
