from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import holdfast
import pytest
from holdfast import log
from holdfast.errors import ConfigError
from holdfast.listener import http as ours
from holdfast.listener import turns
from holdfast.listener.connections import ConnectionMetrics, Connections
from holdfast.listener.descriptors import ConnectionBound
from holdfast.listener.http import HttpServer, Request, Response
from holdfast.listener.shares import Share
from holdfast.metrics import CONTENT_TYPE, OPENMETRICS_TYPE, Counter, Registry
from holdfast.plugins.servers.pages import debug_routes, guard_address, metrics_routes
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.running import PATIENCE_S, async_until

ROOMY = ConnectionBound(8, 8)
Talk = Callable[[bytes], Awaitable[bytes]]


async def shout(request: Request) -> Response:
    return Response(request.body.upper() + request.query.get("and", "").encode())


def broken(request: Request) -> Response:
    raise ValueError("torn")


def unwilling(request: Request) -> Response:
    raise ConfigError("no such level")


ROUTES = {
    ("GET", "/hello"): lambda request: Response(b"hello\n"),
    ("PUT", "/shout"): shout,
    ("GET", "/broken"): broken,
    ("PUT", "/unwilling"): unwilling,
    ("GET", "/long"): lambda request: Response(b"0123456789" * 20_000),
}


def table(bound=ROOMY):
    return Connections("metrics", bound, ConnectionMetrics(), kept_s=0)


@asynccontextmanager
async def serving(routes=ROUTES, bound=ROOMY, guard=None, connections=None):
    """Gives an address, and a function that sends bytes and reads what comes back until the end."""
    server = HttpServer(routes, table(bound) if connections is None else connections, guard)
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()[:2]
    server.start(sock)

    async def talk(data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(data)
            async with asyncio.timeout(PATIENCE_S):
                return await reader.read()
        finally:
            writer.close()

    try:
        yield address, talk
    finally:
        await server.close()


def asked(path: str, method: str = "GET", body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def ask(address, method: str, path: str, body: bytes | None = None, **headers: str):
    """The answer as Python's own client understands it."""

    def blocking():
        connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        got = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return got

    return await asyncio.to_thread(blocking)


async def test_a_get_is_answered():
    async with serving() as (address, _):
        status, headers, body = await ask(address, "GET", "/hello")
    assert (status, body, headers["Content-Type"]) == (200, b"hello\n", "text/plain; charset=utf-8")


async def test_a_head_is_a_get_without_the_body():
    async with serving() as (address, _):
        status, headers, body = await ask(address, "HEAD", "/hello")
    assert (status, headers["Content-Length"], body) == (200, "6", b"")


async def test_a_put_hands_its_body_and_query_on():
    async with serving() as (address, _):
        assert (await ask(address, "PUT", "/shout?and=more%21", b"loud"))[2] == b"LOUDmore!"


async def test_other_paths_are_not_found_and_other_methods_not_allowed():
    async with serving() as (address, _):
        assert (await ask(address, "GET", "/"))[::2] == (404, b"404 page not found\n")
        status, headers, _ = await ask(address, "PUT", "/hello", b"x")
    assert (status, headers["Allow"]) == (405, "GET")


async def test_a_route_that_breaks_is_a_500_and_the_next_request_is_served(caplog):
    async with serving() as (address, _):
        assert (await ask(address, "GET", "/broken"))[0] == 500
        assert (await ask(address, "GET", "/hello"))[0] == 200
    assert caplog.records[0].fields == {"path": "/broken", "error": "ValueError: torn"}


async def test_an_error_of_ours_is_the_clients_mistake():
    async with serving() as (address, _):
        assert (await ask(address, "PUT", "/unwilling", b"x"))[::2] == (400, b"no such level\n")


async def test_requests_follow_each_other_on_one_connection_even_when_sent_at_once():
    async with serving() as (_, talk):
        kept = asked("/hello").replace(b"Connection: close\r\n", b"")
        answer = await talk(kept + kept + asked("/hello"))
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b"Connection: keep-alive") == 2


@pytest.mark.parametrize("header", [b"", b"Connection: Keep-Alive\r\n"])
async def test_an_http_1_0_connection_is_closed_after_its_answer_and_told_so(header):
    async with serving() as (_, talk):
        answer = await talk(b"GET /hello HTTP/1.0\r\n" + header + b"\r\n")
    assert answer.endswith(b"\r\nConnection: close\r\n\r\nhello\n")


async def test_a_long_answer_is_packed_for_who_takes_it_and_only_then():
    async with serving() as (address, _):
        _, plain_headers, plain = await ask(address, "GET", "/long")
        _, headers, packed = await ask(address, "GET", "/long", Accept_Encoding="gzip;q=1.0, identity")
        _, refused, _ = await ask(address, "GET", "/long", Accept_Encoding="gzip;q=0")
        _, short, _ = await ask(address, "GET", "/hello", Accept_Encoding="gzip")
    assert gzip.decompress(packed) == plain == b"0123456789" * 20_000
    assert headers["Content-Encoding"] == "gzip"
    assert len(packed) < len(plain) / 20
    for others in (plain_headers, refused, short):
        assert "Content-Encoding" not in others


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /hello\r\n\r\n", b"400"),
        (b"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00 TLS hello\r\n\r\n", b"400"),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", b"400"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
        (b"PUT /shout HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"PUT /shout HTTP/1.1\r\nHost: x\r\nContent-Length: \xb2\r\n\r\n", b"400"),
        (b"PUT /shout HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"PUT /shout HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"501"),
        (b"PUT /shout HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"PUT /shout HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", b"413"),
        (b"PUT /shout HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", b"413"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000, b"431"),
        (b"GET /?" + b"a=b&" * 100 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    ],
)
async def test_a_bad_request_is_told_so_and_the_connection_closed(request_bytes, status):
    async with serving() as (_, talk):
        answer = await talk(request_bytes)
    assert answer.split(b" ")[1] == status
    assert b"Connection: close" in answer


async def test_what_is_refused_is_refused_with_a_reason_and_without_what_was_sent():
    async with serving() as (_, talk):
        assert (await talk(b"nonsense\r\n\r\n")).endswith(b"\r\n\r\nillegal request line\n")
        assert (await talk(b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000)).endswith(b"\r\n\r\nat most 16384 bytes of head\n")


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_answered_or_refused(data):
    async def talked() -> bytes:
        async with serving() as (address, _):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(data + b"\r\n\r\n")
            writer.write_eof()
            async with asyncio.timeout(PATIENCE_S):
                answer = await reader.read()
            writer.close()
            return answer

    answer = asyncio.run(talked())
    assert answer == b"" or answer.split(b" ")[1] in (b"200", b"400", b"404", b"405", b"413", b"431", b"501")


async def test_a_client_that_waits_for_a_go_ahead_gets_it():
    async with serving() as (address, _):
        reader, writer = await asyncio.open_connection(*address)
        head, body = asked("/shout", "PUT", b"x", Expect="100-continue")[:-1], b"x"
        writer.write(head)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


async def test_a_client_that_says_nothing_is_let_go(monkeypatch):
    monkeypatch.setattr(ours, "SILENT_S", 0.05)
    async with serving() as (_, talk):
        assert await talk(b"") == b""


async def test_a_connection_that_is_kept_is_let_go_when_no_request_follows(monkeypatch):
    monkeypatch.setattr(ours, "IDLE_S", 0.05)
    async with serving() as (_, talk):
        answer = await talk(asked("/hello").replace(b"Connection: close\r\n", b""))
    assert answer.endswith(b"\r\n\r\nhello\n")


async def test_a_request_that_never_ends_is_let_go(monkeypatch):
    monkeypatch.setattr(ours, "REQUEST_S", 0.05)
    async with serving() as (_, talk):
        assert await talk(b"GET /hello HTTP/1.1\r\nHost: ") == b""
        assert await talk(b"PUT /shout HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf") == b""


async def test_connections_that_say_nothing_make_room_for_one_that_asks():
    async with serving(bound=ConnectionBound(2, 2)) as (address, talk):
        silent = [await asyncio.open_connection(*address) for _ in range(5)]
        assert (await talk(asked("/hello"))).startswith(b"HTTP/1.1 200 ")
        async with asyncio.timeout(PATIENCE_S):
            for reader, _ in silent[:3]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
        for _, writer in silent:
            writer.close()


async def test_a_connection_that_makes_room_ends_with_all_it_holds_and_not_when_its_answer_would_come():
    asked_for, given_up = asyncio.Event(), asyncio.Event()

    async def never(request: Request) -> Response:
        try:
            asked_for.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.set()
            raise
        return Response(b"")

    async with serving({**ROUTES, ("GET", "/never"): never}, bound=ConnectionBound(1, 1)) as (address, talk):
        _, writer = await asyncio.open_connection(*address)
        writer.write(asked("/never"))
        async with asyncio.timeout(PATIENCE_S):
            await asked_for.wait()
            assert (await talk(asked("/hello"))).startswith(b"HTTP/1.1 200 ")
            await given_up.wait()
        writer.close()


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Host": "127.0.0.1:9421"}, 200),
        ("GET", {"Host": "[::1]:9421"}, 200),
        ("GET", {"Host": "localhost"}, 200),
        ("GET", {"Host": "10.0.0.7", "Sec_Fetch_Site": "none"}, 200),
        ("GET", {"Host": "rebound.example:9421"}, 403),
        ("GET", {"Host": "[rebound.example]"}, 403),
        ("GET", {"Host": ""}, 403),
        ("GET", {"Host": "127.0.0.1:9421", "Origin": "http://127.0.0.1:9421"}, 403),
        ("GET", {"Host": "127.0.0.1:9421", "Sec_Fetch_Site": "cross-site"}, 403),
        ("PUT", {"Host": "127.0.0.1:9421"}, 403),
    ],
)
async def test_the_debug_endpoint_on_an_address_only_reads_and_not_for_web_pages(method, headers, status):
    routes = debug_routes(str, dict, lambda: "info", lambda level: None)
    async with serving(routes, guard=guard_address) as (address, _):
        assert (await ask(address, method, "/debug/loglevel", **headers))[0] == status


async def test_a_refused_head_has_no_body_either():
    routes = debug_routes(str, dict, lambda: "info", lambda level: None)
    async with serving(routes, guard=guard_address) as (_, talk):
        answer = await talk(b"HEAD /debug/config HTTP/1.1\r\nHost: rebound.example\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert answer.endswith(b"\r\nConnection: close\r\n\r\n")


async def test_a_head_that_takes_long_to_parse_is_paid_for_by_its_peer(monkeypatch):
    monkeypatch.setattr(turns, "PEER", Share(10, 100))
    head = b"GET /hello HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 3000
    async with serving() as (_, talk):
        cpu_s, began = time.thread_time(), time.monotonic()
        answer = await talk((head + b"\r\n") * 79 + head + b"Connection: close\r\n\r\n")
        cpu_s, took_s = time.thread_time() - cpu_s, time.monotonic() - began
    assert answer.count(b"hello\n") == 80
    assert cpu_s < took_s / 2


async def test_an_answer_that_is_never_read_is_given_up_with_its_connection(monkeypatch):
    monkeypatch.setattr(ours, "REQUEST_S", 0.2)
    connections, loop, asked_for, got = table(), asyncio.get_running_loop(), [], 0

    def huge(request: Request) -> Response:
        asked_for.append(request)
        return Response(b"x" * (32 << 20))

    async with serving({("GET", "/huge"): huge}, connections=connections) as (address, _):
        with socket.create_connection(address) as client:
            client.sendall(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
            await async_until(lambda: asked_for and not len(connections), "given up")
            client.setblocking(False)
            async with asyncio.timeout(PATIENCE_S):
                with contextlib.suppress(ConnectionError):
                    while part := await loop.sock_recv(client, 1 << 20):
                        got += len(part)
    assert got < 32 << 20, "of the answer, what was in the kernel's buffers"


async def test_a_peer_that_asks_on_and_on_gets_a_share_of_the_time_and_all_its_answers(monkeypatch):
    monkeypatch.setattr(turns, "PEER", Share(10, 100))
    busy_s = 0.0

    def slow(request: Request) -> Response:
        nonlocal busy_s
        began = time.thread_time()
        while time.thread_time() - began < 0.005:
            pass
        busy_s += time.thread_time() - began
        return Response(b"slow\n")

    metrics = ConnectionMetrics()
    connections = Connections("metrics", ROOMY, metrics)
    async with serving({("GET", "/slow"): slow}, connections=connections) as (_, talk):
        began = time.monotonic()
        asking = asked("/slow").replace(b"Connection: close\r\n", b"") * 49 + asked("/slow")
        assert (await talk(asking)).count(b"slow\n") == 50
        assert busy_s < (time.monotonic() - began) / 4
    assert metrics.pauses.labels("metrics").value > 0


async def test_closing_cuts_a_connection_that_is_kept_open():
    server = HttpServer(ROUTES, table())
    sock = socket.create_server(("127.0.0.1", 0))
    server.start(sock)
    reader, writer = await asyncio.open_connection(*sock.getsockname()[:2])
    writer.write(b"GET /hel")
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_S):
        await server.close()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_closing_a_server_that_was_never_started_is_nothing():
    await HttpServer(ROUTES, table()).close()


async def test_the_metrics_are_at_both_paths_in_prometheus_own_type():
    registry, counter = Registry(), Counter("a_total", "A.")
    counter.inc()
    registry.add(counter)
    async with serving(metrics_routes(registry, lambda: True)) as (address, _):
        for path in ("/metrics", "/v1/metrics"):
            status, headers, body = await ask(address, "GET", path)
            assert (status, headers["Content-Type"], body) == (200, CONTENT_TYPE, registry.text())


async def test_the_front_of_the_metrics_has_version_health_and_links_alone():
    registry = Registry()
    for serves, words in ((True, b"Health: serves<"), (False, b"Health: does not serve<")):
        async with serving(metrics_routes(registry, lambda serves=serves: serves)) as (address, _):
            status, headers, body = await ask(address, "GET", "/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert headers["Content-Security-Policy"] == "default-src 'none'"
        assert words in body
        assert f"holdfast {holdfast.__version__}".encode() in body
        assert body.count(b"href=") == 1


@pytest.mark.parametrize(
    ("accepted", "form"),
    [
        ("", CONTENT_TYPE),
        ("*/*", CONTENT_TYPE),
        ("text/plain", CONTENT_TYPE),
        ("application/openmetrics-text", OPENMETRICS_TYPE),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS_TYPE),
        ("Application/OpenMetrics-Text;version=1.0.0,*/*;q=0.1", OPENMETRICS_TYPE),
        ("text/plain;q=0.5,application/openmetrics-text;version=0.0.1;q=0.75", OPENMETRICS_TYPE),
        ("text/plain,application/openmetrics-text;q=0.5", CONTENT_TYPE),
        ("application/openmetrics-text;q=0", CONTENT_TYPE),
        ("application/openmetrics-text;q=x", CONTENT_TYPE),
        ("application/openmetrics-text;version=2.0.0", CONTENT_TYPE),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",  # Prometheus 2.42
            OPENMETRICS_TYPE,
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",  # Prometheus 3
            OPENMETRICS_TYPE,
        ),
    ],
)
async def test_the_metrics_are_openmetrics_for_a_client_that_prefers_it(accepted, form):
    registry, counter = Registry(), Counter("a_total", "A.")
    registry.add(counter)
    async with serving(metrics_routes(registry, lambda: True)) as (address, _):
        status, headers, body = await ask(address, "GET", "/metrics", **({"Accept": accepted} if accepted else {}))
    assert (status, headers["Content-Type"]) == (200, form)
    assert body == registry.text(openmetrics=form == OPENMETRICS_TYPE)


async def test_the_debug_pages_show_stacks_tasks_and_configuration_and_change_the_level():
    levels = ["info"]

    def set_level(level: str) -> None:
        log.level_number(level)
        levels.append(level)

    def stacks(threads: bool) -> str:
        return "thread MainThread" if threads else "task Task-1"

    routes = debug_routes(stacks, lambda: {"version": 2}, lambda: levels[-1], set_level)
    async with serving(routes) as (address, _):
        assert b"thread MainThread" in (await ask(address, "GET", "/debug/stacks"))[2]
        assert b"Task-" in (await ask(address, "GET", "/debug/tasks"))[2]
        assert (await ask(address, "GET", "/debug/config"))[2] == b'{\n  "version": 2\n}\n'
        assert (await ask(address, "GET", "/debug/loglevel"))[2] == b"info\n"
        assert (await ask(address, "PUT", "/debug/loglevel", b"debug\n"))[::2] == (200, b"debug\n")
        assert (await ask(address, "PUT", "/debug/loglevel?level=warn"))[2] == b"warn\n"
        status, _, words = await ask(address, "PUT", "/debug/loglevel", b"loud")
    assert (status, words) == (400, b'not a valid logrus Level: "loud"\n')
    assert levels == ["info", "debug", "warn"]
