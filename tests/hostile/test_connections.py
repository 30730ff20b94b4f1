"""Connections, streams and bytes of strangers on the network's listeners."""

from __future__ import annotations

import pytest

from tests.hostile.kit import ELSEWHERE, HERE

PREFACE = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0").hex()
UNENDED = b"GET /metrics HTTP/1.1\r\nHost: x\r\n".hex()


def test_a_target_that_nobody_attacks_answers_and_works(target):
    target.survives(None, 1)


@pytest.mark.parametrize("source", [HERE, ELSEWHERE])
@pytest.mark.parametrize("listener", ["health", "tcp", "metrics"])
def test_silent_connections_take_nothing_from_anybody(target, attack, listener, source):
    target.survives(attack("idle", source, target.ports[listener], 1500))
    assert target.metric("holdfast_connections_closed_total", listener=listener) > 0


@pytest.mark.parametrize(("listener", "said"), [("health", PREFACE), ("tcp", PREFACE), ("metrics", UNENDED)])
def test_connections_that_begin_and_then_idle_take_nothing_from_other_addresses(target, attack, listener, said):
    target.survives(attack("idle", ELSEWHERE, target.ports[listener], 1500, said))
    assert target.metric("holdfast_connections_closed_total", listener=listener) > 0
