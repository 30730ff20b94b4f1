from __future__ import annotations

import asyncio
import socket

import grpc
import msgspec
import pytest
from holdfast.config import Settings
from holdfast.rpc import fleet_traffic, server_options
from holdfast.rpc.options import NODE

from tests.running import PATIENCE_S


def options(**grpc_section: object) -> dict[str, int]:
    return dict(server_options(msgspec.convert({"grpc": grpc_section}, Settings)))


def test_the_defaults_are_containerds_limits():
    found = options()
    assert found["grpc.max_receive_message_length"] == 16 << 20
    assert found["grpc.max_send_message_length"] == 16 << 20
    assert found["grpc.so_reuseport"] == 0


def test_a_call_may_wait_for_the_daemon_longer_than_for_the_cores_own_30_seconds():
    assert options()["grpc.server_max_unrequested_time_in_server"] == 300


def test_zero_means_grpcs_own_limit_for_receiving_and_none_for_sending():
    found = options(max_recv_message_size=0, max_send_message_size=0)
    assert "grpc.max_receive_message_length" not in found
    assert found["grpc.max_send_message_length"] == -1


def test_times_are_milliseconds_and_zero_leaves_them_out():
    found = options(keepalive={"time": 30.0, "timeout": 5.0, "max_connection_age": 3600.0})
    assert found["grpc.keepalive_time_ms"] == 30_000
    assert found["grpc.keepalive_timeout_ms"] == 5_000
    assert found["grpc.max_connection_age_ms"] == 3_600_000
    assert "grpc.max_connection_idle_ms" not in found


def test_a_time_beyond_what_an_int32_holds_is_the_longest_there_is():
    assert options(keepalive={"time": 36e6})["grpc.keepalive_time_ms"] == 2**31 - 1


def test_a_limit_of_calls_also_limits_the_streams_of_one_connection():
    assert options(max_concurrent_rpcs=7)["grpc.max_concurrent_streams"] == 7
    assert options()["grpc.max_concurrent_streams"] == NODE.streams
    assert options(max_concurrent_rpcs=0)["grpc.max_concurrent_streams"] == NODE.streams


def test_over_tcp_a_request_is_small_unless_some_client_is_granted_more():
    grant = {"identities": ["CN=x"], "methods": ["*"]}
    for section, most in (({}, 64 << 10), ({"grants": [grant]}, 16 << 20)):
        settings = msgspec.convert({"grpc": section}, Settings)
        found = dict(server_options(settings, fleet_traffic(settings)))
        assert found["grpc.max_receive_message_length"] == most


async def test_metadata_is_taken_up_to_the_bound_and_above_it_never(short_dir):
    async def echo(request, context):
        return request

    service = grpc.method_handlers_generic_handler("t.T", {"E": grpc.unary_unary_rpc_method_handler(echo)})
    server = grpc.aio.server(handlers=[service], options=server_options(Settings()))
    server.add_insecure_port(f"unix:{short_dir}/s")
    await server.start()
    unbound = [("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 20)]
    async with grpc.aio.insecure_channel(f"unix:{short_dir}/s", options=unbound) as channel:
        for size, code in ((9_000, "OK"), (15_000, "OK"), (32_000, "OK"), (33_000, "RESOURCE_EXHAUSTED")):
            for _ in range(30):
                call = channel.unary_unary("/t.T/E")(b"1", metadata=(("baggage", "v" * size),))
                assert (await call.code()).name == code
    await server.stop(0)


async def test_a_busy_port_is_an_error_and_not_a_second_daemon():
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = grpc.aio.server(options=server_options(Settings()))
        with pytest.raises(RuntimeError):
            server.add_insecure_port(f"127.0.0.1:{taken.getsockname()[1]}")


async def test_a_connection_is_closed_gently_at_its_age(short_dir):
    async def echo(request, context):
        return request

    settings = msgspec.convert({"grpc": {"keepalive": {"max_connection_age": 0.2}}}, Settings)
    service = grpc.method_handlers_generic_handler("t.T", {"E": grpc.unary_unary_rpc_method_handler(echo)})
    server = grpc.aio.server(handlers=[service], options=server_options(settings))
    server.add_insecure_port(f"unix:{short_dir}/s")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{short_dir}/s") as channel:
        assert await channel.unary_unary("/t.T/E")(b"1") == b"1"
        async with asyncio.timeout(PATIENCE_S):
            while channel.get_state() is grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert await channel.unary_unary("/t.T/E")(b"2") == b"2"
    await server.stop(0)
