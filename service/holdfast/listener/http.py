"""Minimal HTTP/1.1 for a scraper, a browser on this machine and a person with curl.

It serves GET and PUT on a table of paths, one request at a time.

h11 has the protocol (RFC 9112), without I/O; what follows bounds it: header and body size, time for a request,
connections (`connections`: the quietest is closed for a new one, so that silent peers do not keep a scraper out), and
the loop's time (`turns`: nothing is read of a peer beyond its share, so sockets are read without a transport). A web
framework would cost more memory than the rest of the daemon's listeners together. Left out on purpose: chunked requests
(64 KiB in chunks of a byte take h11 0.35 s), ranges, and TLS (a metrics endpoint that needs it has a proxy in front).
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from time import monotonic, thread_time
from urllib.parse import parse_qsl, urlsplit

import h11
from msgspec import Struct

from holdfast import log
from holdfast.errors import HoldfastError
from holdfast.listener.acceptor import Acceptor
from holdfast.listener.connections import Connections, TrackedConnection
from holdfast.listener.turns import Turns

LOG = log.named(__name__)
MAX_HEAD = 16 << 10
MAX_BODY = 64 << 10
READ = 2 << 10  # bytes at a time; a head may exceed MAX_HEAD by one read
SILENT_S = 10.0  # from accept(2) to the first byte
REQUEST_S = 10.0  # from the first byte to the last one read; and for the peer to read the answer
IDLE_S = 120.0  # a scraper keeps its connection between scrapes
LINGER_S = 1.0  # for a refused client to stop sending: closing with unread bytes would discard the refusal
GZIP_FROM = 1400  # bytes; less fits one packet anyway
GZIP_IN_THREAD_FROM = 64 << 10  # bytes; zlib releases the interpreter while it works
ELSEWHERE_MS = 5.0  # charged at most where an answer comes from a thread: to explain a process takes one 2 ms

_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
            413: "Content Too Large", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
            501: "Not Implemented", 503: "Service Unavailable"}  # fmt: skip


class Request(Struct, frozen=True):
    """Request as a route receives it."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = b""
    host: str = ""
    origin: str = ""  # of the web page that made the request, as its browser reports it
    fetch_site: str = "none"  # where that page is from, seen from here (https://www.w3.org/TR/fetch-metadata/)
    gzip: bool = False  # the answer may be packed
    openmetrics: bool = False  # metrics are wanted in OpenMetrics

    @property
    def from_page(self) -> bool:
        """Whether a web page made the request, and not a person or a program."""
        return bool(self.origin) or self.fetch_site != "none"


class Response(Struct, frozen=True):
    """Response of a route."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    allow: str = ""
    headers: tuple[tuple[str, str], ...] = ()


Route = Callable[[Request], Awaitable[Response] | Response]
Routes = Mapping[tuple[str, str], Route]  # (method, path) → route
#: Raises Refused for a request that must not reach any route.
Guard = Callable[[Request], None]


class RequestRefused(Exception):
    """Error of a request that is answered without being carried out; its connection is closed."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.response = Response(f"{why}\n".encode(), status)


def _takes_gzip(accepted: str) -> bool:
    for choice in accepted.lower().split(","):
        coding, _, weight = choice.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _wants_openmetrics(accepted: str) -> bool:
    """Whether OpenMetrics is named in an Accept header, and no other type is preferred to it (RFC 9110, 12.5.1)."""
    best = {"application/openmetrics-text": 0.0, "": 0.0}
    for choice in accepted.lower().split(","):
        name, *parameters = (one.strip() for one in choice.split(";"))
        given = dict(one.replace(" ", "").partition("=")[::2] for one in parameters)
        try:
            weight = float(given.get("q", "1"))
        except ValueError:
            weight = 0.0
        kind = name if name in best and given.get("version", "1.0.0") in ("1.0.0", "0.0.1") else ""
        best[kind] = max(best[kind], weight)
    return best["application/openmetrics-text"] > 0 and best["application/openmetrics-text"] >= best[""]


class _Channel:
    """One connection: h11's state of it, and its socket."""

    def __init__(self, client: socket.socket, peer: str, turns: Turns) -> None:
        self._client, self._peer, self._turns = client, peer, turns
        with suppress(OSError):  # a unix socket has no such option, and the peer may have left
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop = asyncio.get_running_loop()
        self._wire = h11.Connection(h11.SERVER, MAX_HEAD)
        self._bodiless = False  # the answer to a HEAD

    async def begun(self, wait_s: float) -> bool:
        """Wait for the first bytes of a request, then for the peer's turn; return whether there are any.

        One read comes before the turn, so that the end of a kept connection is seen at once, and its place is free.
        """
        async with asyncio.timeout(wait_s):
            if not self._wire.trailing_data[0]:
                data = await self._loop.sock_recv(self._client, READ)
                if not data:
                    return False
                self._wire.receive_data(data)
            await self._turns.wait(self._peer)
        return True

    async def request(self) -> Request:
        """Read one request. Raises Refused."""
        self._bodiless = False
        head = await self._event()
        assert isinstance(head, h11.Request)
        self._bodiless = head.method == b"HEAD"
        if head.http_version not in (b"1.1", b"1.0"):
            raise RequestRefused(400, "not an HTTP/1.1 request")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        try:
            url = urlsplit(head.target.decode("latin-1"))
            query = dict(parse_qsl(url.query, max_num_fields=32))
        except ValueError:
            raise RequestRefused(400, "not a URL") from None
        if "transfer-encoding" in headers:
            raise RequestRefused(501, "send a Content-Length")
        if int(headers.get("content-length", "0")) > MAX_BODY:
            raise RequestRefused(413, f"at most {MAX_BODY} bytes")
        body = b""
        while isinstance(part := await self._event(), h11.Data):
            body += part.data
        return Request(
            head.method.decode("latin-1"),
            url.path,
            query,
            body,
            headers.get("host", ""),
            headers.get("origin", ""),
            headers.get("sec-fetch-site", "none"),
            _takes_gzip(headers.get("accept-encoding", "")),
            _wants_openmetrics(headers.get("accept", "")),
        )

    async def send(self, response: Response, request: Request | None = None) -> bool:
        """Write the answer to ``request``, if one was read; return whether another may follow."""
        headers, body = [("Content-Type", response.content_type)], response.body
        if request is not None and request.gzip and len(body) >= GZIP_FROM:
            body = await self._packed(body)
            headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
        headers += response.headers
        if response.allow:
            headers.append(("Allow", response.allow))
        headers += [("Content-Length", str(len(body))), ("Connection", "close" if request is None else "keep-alive")]
        head = h11.Response(status_code=response.status, headers=headers, reason=_REASONS[response.status])
        async with asyncio.timeout(REQUEST_S):
            await self._write(head, *([] if self._bodiless else [h11.Data(data=body)]), h11.EndOfMessage())
        if self._wire.our_state is not h11.DONE:
            return False
        self._wire.start_next_cycle()
        return True

    async def refuse(self, response: Response) -> None:
        """Answer what is no request; the peer may stop sending before the connection is closed."""
        with suppress(TimeoutError, OSError):
            await self.send(response)
            self._client.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(LINGER_S):
                while await self._read():
                    pass

    async def _packed(self, body: bytes) -> bytes:
        if len(body) < GZIP_IN_THREAD_FROM:
            return _gzipped(body)[0]
        packed, took_s = await asyncio.to_thread(_gzipped, body)
        self._turns.took(self._peer, took_s * 1000)
        return packed

    async def _event(self) -> h11.Event:
        try:
            while (event := self._wire.next_event()) is h11.NEED_DATA:
                if self._wire.they_are_waiting_for_100_continue:
                    await self._write(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
                data = await self._read()
                if not data:
                    raise ConnectionResetError
                self._wire.receive_data(data)
        except h11.RemoteProtocolError as error:
            why = str(error).partition(": bytearray")[0]  # without the peer's own text
            if error.error_status_hint == 431:
                why = f"at most {MAX_HEAD} bytes of head"
            raise RequestRefused(error.error_status_hint, why) from None
        assert isinstance(event, h11.Event)
        return event

    async def _read(self) -> bytes:
        await self._turns.wait(self._peer)
        return await self._loop.sock_recv(self._client, READ)

    async def _write(self, *events: h11.Event) -> None:
        """Hand the events to the kernel."""
        await self._loop.sock_sendall(self._client, b"".join(self._wire.send(event) or b"" for event in events))


class HttpServer:
    """HTTP server of ``routes`` on one listening socket, for as many peers as ``connections`` admits."""

    def __init__(self, routes: Routes, connections: Connections, guard: Guard | None = None) -> None:
        self._routes, self._connections, self._guard = routes, connections, guard
        self._open: set[asyncio.Task[None]] = set()
        self._acceptor: Acceptor | None = None
        self._turns = Turns(connections.paused)

    def start(self, sock: socket.socket) -> None:
        """Serve on ``sock``, which the server then owns."""
        self._acceptor = Acceptor(self._connections.listener, sock, self._take)
        self._acceptor.start()

    async def close(self) -> None:
        """Stop accepting and cut the open connections."""
        if self._acceptor is not None:
            self._acceptor.close()
        self._connections.end_all()
        if self._open:
            await asyncio.wait(self._open)

    def _take(self, client: socket.socket, peer: str) -> None:
        def cut() -> None:
            task.cancel()

        self._turns.accepted(peer)
        place = self._connections.admit(peer, cut)
        if place is None:
            client.close()
            return

        def ended(task: asyncio.Task[None]) -> None:
            place.leave()
            client.close()
            self._open.discard(task)

        task = asyncio.get_running_loop().create_task(self._connection(client, peer, place), name="http connection")
        task.add_done_callback(ended)
        self._open.add(task)

    async def _connection(self, client: socket.socket, peer: str, place: TrackedConnection) -> None:
        await self._turns.charged(peer, self._serve(_Channel(client, peer, self._turns), peer, place))

    async def _serve(self, channel: _Channel, peer: str, place: TrackedConnection) -> None:
        """Serve one request after another."""
        wait_s = SILENT_S
        try:
            async with asyncio.timeout(SILENT_S):
                await self._turns.wait(peer)
            while await channel.begun(wait_s):
                place.touch()
                async with asyncio.timeout(REQUEST_S):
                    request = await channel.request()
                if self._guard is not None:
                    self._guard(request)
                if not await channel.send(await self._answer(request, peer), request):
                    return
                wait_s = IDLE_S
        except RequestRefused as refused:
            await channel.refuse(refused.response)
        except (TimeoutError, OSError):
            pass  # the peer went away, sends nothing or reads nothing: it cannot be answered

    async def _answer(self, request: Request, peer: str) -> Response:
        route = self._routes.get(("GET" if request.method == "HEAD" else request.method, request.path))
        if route is None:
            allowed = sorted(method for method, path in self._routes if path == request.path)
            if not allowed:
                return Response(b"404 page not found\n", 404)
            return Response(b"method not allowed\n", 405, allow=", ".join(allowed))
        try:
            answer = route(request)
            if isinstance(answer, Response):
                return answer
            began = monotonic() - thread_time()
            response = await answer
            elsewhere_s = monotonic() - thread_time() - began
            self._turns.took(peer, min(max(0.0, elsewhere_s * 1000), ELSEWHERE_MS))
            return response
        except HoldfastError as error:
            return Response(f"{error}\n".encode(errors="replace"), 400)
        except Exception as error:  # a route that breaks must not take the listener with it
            LOG.error("request failed", path=request.path, error=f"{type(error).__name__}: {error}")
            return Response(b"internal error\n", 500)


def _gzipped(body: bytes) -> tuple[bytes, float]:
    """Return ``body`` packed, and the CPU time that it took in seconds."""
    began = thread_time()
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)  # 31: gzip's own header
    packed = packer.compress(body) + packer.flush()
    return packed, thread_time() - began
