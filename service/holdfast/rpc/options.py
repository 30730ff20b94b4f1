"""What gRPC's core is told when a server is made, from the configuration."""

from __future__ import annotations

from holdfast.config import Settings

Option = tuple[str, int]
UNLIMITED = -1


def server_options(settings: Settings) -> list[Option]:
    """Limits and keepalive as channel arguments (grpc/impl/channel_arg_names.h); times there are milliseconds."""
    grpc, keepalive = settings.grpc, settings.grpc.keepalive
    options: list[Option] = [
        ("grpc.so_reuseport", 0),  # a busy port is an error, not a second daemon that gets half of the calls
        ("grpc.max_send_message_length", grpc.max_send_message_size or UNLIMITED),
        ("grpc.keepalive_timeout_ms", _ms(keepalive.timeout)),
        ("grpc.keepalive_permit_without_calls", int(keepalive.permit_without_calls)),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(keepalive.min_ping_interval)),
    ]
    if grpc.max_recv_message_size:
        options.append(("grpc.max_receive_message_length", grpc.max_recv_message_size))
    if grpc.max_concurrent_rpcs:  # no connection needs more streams than the daemon has calls (the gate counts those)
        options.append(("grpc.max_concurrent_streams", grpc.max_concurrent_rpcs))
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
