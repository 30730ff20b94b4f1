"""Connections, streams and bytes of strangers on the network's listeners."""

from __future__ import annotations

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".hex()


def test_a_target_that_nobody_attacks_answers_and_works(target):
    target.survives(None, 1)


def test_silent_connections_to_the_health_port_take_nothing_from_anybody(target, attack):
    target.survives(attack("idle", target.ports["health"], 1500))


def test_connections_that_speak_http2_and_then_idle_take_nothing_from_anybody(target, attack):
    target.survives(attack("idle", target.ports["health"], 1500, PREFACE))
