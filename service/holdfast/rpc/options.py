"""Channel arguments of a gRPC server: from the configuration, and from the bounds of each listener's peers."""

from __future__ import annotations

from msgspec import Struct

from holdfast.config import Settings

Option = tuple[str, int]
UNLIMITED = -1
#: Bytes of a call's metadata, as RFC 9113 counts them (32 more for each entry). Up to this they are accepted, above
#: it never: between its own two limits, 8 and 16 KiB, the core refuses by chance.
MAX_METADATA_BYTES = 32 << 10
#: Queued calls; further ones are cancelled. Between the core's own two limits, 1,000 and 3,000, it cancels by chance.
PENDING = 1024
#: A queued call is cancelled after this time. The core's own, 30, is less than a client's deadline may be.
QUEUED_S = 300
HANDSHAKE_S = 10.0  # until TLS and HTTP/2 have begun; the core's own: 120


class Traffic(Struct, frozen=True):
    """Most that one connection may bring at a time: calls, and bytes of one request (0: the configured limit)."""

    streams: int
    request_bytes: int = 0


NODE = Traffic(streams=128)
FLEET = Traffic(streams=16)
SHARED_STREAMS = 32  # on a unix socket that others than root may open: 16 connections of one user have half of all
PROBES = Traffic(streams=8, request_bytes=4 << 10)  # a request is the name of a service
#: Over TCP without any grant a call's request is a few numbers and names.
READING_BYTES = 64 << 10


def fleet_traffic(settings: Settings) -> Traffic:
    """Limits of a TCP connection: whole messages if some clients are granted more than reading, else small ones."""
    return FLEET if settings.grpc.grants else Traffic(FLEET.streams, READING_BYTES)


def shared_traffic(settings: Settings, connections: int) -> Traffic:
    """Limits of a unix socket that several users may open: one user's ``connections`` leave half of the calls to
    others.
    """
    calls = settings.grpc.max_concurrent_rpcs
    return Traffic(min(SHARED_STREAMS, max(1, calls // 2 // connections)) if calls else SHARED_STREAMS)


def server_options(settings: Settings, traffic: Traffic = NODE, connections: int = 0) -> list[Option]:
    """Limits and keepalive as channel arguments (grpc/impl/channel_arg_names.h); times there are milliseconds.

    ``connections`` is the most connections; 0 if a relay before the server bounds them.
    """
    grpc, keepalive = settings.grpc, settings.grpc.keepalive
    streams = min(traffic.streams, grpc.max_concurrent_rpcs or traffic.streams)
    request_bytes = traffic.request_bytes or grpc.max_recv_message_size
    options: list[Option] = [
        ("grpc.so_reuseport", 0),  # a busy port is an error, not a second daemon that gets half of the calls
        ("grpc.max_send_message_length", grpc.max_send_message_size or UNLIMITED),
        ("grpc.max_concurrent_streams", streams),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.server.max_pending_requests", PENDING),
        ("grpc.server.max_pending_requests_hard_limit", PENDING),
        ("grpc.server_max_unrequested_time_in_server", QUEUED_S),
        ("grpc.server_handshake_timeout_ms", _ms(HANDSHAKE_S)),
        ("grpc.keepalive_timeout_ms", _ms(keepalive.timeout)),
        ("grpc.keepalive_permit_without_calls", int(keepalive.permit_without_calls)),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(keepalive.min_ping_interval)),
    ]
    if request_bytes:
        options.append(("grpc.max_receive_message_length", request_bytes))
    if connections:
        options.append(("grpc.max_allowed_incoming_connections", connections))
    for name, seconds in (
        ("grpc.keepalive_time_ms", keepalive.time),
        ("grpc.max_connection_idle_ms", keepalive.max_connection_idle),
        ("grpc.max_connection_age_ms", keepalive.max_connection_age),
        ("grpc.max_connection_age_grace_ms", keepalive.max_connection_age_grace),
    ):
        if seconds:
            options.append((name, _ms(seconds)))
    return options


def _ms(seconds: float) -> int:
    return min(int(seconds * 1000), 2**31 - 1)
