"""Minimal HTTP/1.1 for a scraper and a person with curl: GET and PUT on a table of paths, one request at a time.

RFC 9112. Everything is bounded: header and body size, time for a request, connections (`connections`: the quietest is
closed for a new one, so that silent peers do not keep a scraper out). A web framework would cost more memory than the
rest of the daemon's listeners together. Chunked requests, ranges and TLS are left out on purpose (a metrics endpoint
that needs TLS has a proxy in front).
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from time import monotonic, thread_time
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from holdfast import log
from holdfast.errors import HoldfastError
from holdfast.server.acceptor import Acceptor
from holdfast.server.connections import Connections, TrackedConnection

LOG = log.named(__name__)
MAX_HEAD = 16 << 10
MAX_BODY = 64 << 10
SILENT_S = 10.0  # from accept(2) to the first byte
REQUEST_S = 10.0  # from the first byte to the last one read; and for the peer to read the answer
PEER_SHARE = 10  # a peer that keeps asking gets one part in this many of the time
BURST_S = 1.0  # unused time that a peer may use at once: a tenth of a second of answers
MAX_TURNS = 1024  # peers whose turn is remembered
IDLE_S = 120.0  # a scraper keeps its connection between scrapes
LINGER_S = 1.0  # for a refused client to stop sending: closing with unread bytes would discard the refusal
GZIP_FROM = 1400  # bytes; less fits one packet anyway
GZIP_IN_THREAD_FROM = 64 << 10  # bytes; zlib releases the interpreter while it works

_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
            413: "Content Too Large", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
            501: "Not Implemented"}  # fmt: skip


class Request(Struct, frozen=True):
    """Request as a route receives it."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes = b""
    host: str = ""
    from_page: bool = False  # a browser reports that a web page made the request


class Response(Struct, frozen=True):
    """Response of a route."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    allow: str = ""


Route = Callable[[Request], Awaitable[Response] | Response]
Routes = Mapping[tuple[str, str], Route]  # (method, path) → route
#: Raises Refused for a request that must not reach any route.
Guard = Callable[[Request], None]


class RequestRefused(Exception):
    """Error of a request that is answered without being carried out; its connection is closed."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.response = Response(f"{why}\n".encode(), status)


class Head(Struct, frozen=True):
    """Parsed head of a request."""

    method: str
    path: str
    query: Mapping[str, str]
    body_bytes: int
    keep: bool
    gzip: bool
    expects_continue: bool
    host: str = ""
    from_page: bool = False

    @classmethod
    def parsed(cls, data: bytes) -> Head:
        """Parse the bytes before the body.

        Raises:
            Refused: it is not a request, or not one that is supported.
        """
        start, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        words = start.split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0") or not words[0].isalpha():
            raise RequestRefused(400, "not an HTTP/1.1 request")
        headers = _headers(lines)
        try:
            url = urlsplit(words[1])
            query = dict(parse_qsl(url.query, max_num_fields=32))
        except ValueError:
            raise RequestRefused(400, "not a URL") from None
        if "transfer-encoding" in headers:
            raise RequestRefused(501, "send a Content-Length")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise RequestRefused(400, "not a Content-Length")
        if len(length) > 9 or int(length) > MAX_BODY:
            raise RequestRefused(413, f"at most {MAX_BODY} bytes")
        options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
        return cls(
            words[0],
            url.path,
            query,
            int(length),
            "close" not in options if words[2] == "HTTP/1.1" else "keep-alive" in options,
            _takes_gzip(headers.get("accept-encoding", "")),
            headers.get("expect", "").lower() == "100-continue",
            headers.get("host", ""),
            "origin" in headers or headers.get("sec-fetch-site", "none") != "none",
        )


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise RequestRefused(400, "not a header line")
        name = name.lower()
        if name in ("content-length", "transfer-encoding") and name in headers:
            raise RequestRefused(400, f"more than one {name}")  # two of them are how requests are smuggled past a proxy
        headers[name] = f"{headers[name]},{value.strip()}" if name in headers else value.strip()
    return headers


def _takes_gzip(accepted: str) -> bool:
    for choice in accepted.lower().split(","):
        coding, _, weight = choice.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


class HttpServer:
    """HTTP server of ``routes`` on one listening socket, for as many peers as ``connections`` admits."""

    def __init__(self, routes: Routes, connections: Connections, guard: Guard | None = None) -> None:
        self._routes, self._connections, self._guard = routes, connections, guard
        self._open: set[asyncio.Task[None]] = set()
        self._acceptor: Acceptor | None = None
        self._answer_s = 0.0  # mean of recent answers, so that no peer pays in full for one slow answer (an import)
        self._turns: dict[Hashable, float] = {}  # when each peer is answered next

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

        place = self._connections.admit(peer, cut)
        if place is None:
            client.close()
            return

        def ended(task: asyncio.Task[None]) -> None:
            place.leave()
            client.close()  # where it was cut before its first step
            self._open.discard(task)

        task = asyncio.get_running_loop().create_task(self._connection(client, place), name="http connection")
        task.add_done_callback(ended)
        self._open.add(task)

    async def _connection(self, client: socket.socket, place: TrackedConnection) -> None:
        reader, writer = await asyncio.open_connection(sock=client, limit=MAX_HEAD)
        writer.transport.set_write_buffer_limits(0)  # a drained writer has nothing left that its close would wait for
        try:
            await self._serve(reader, writer, place)
        except RequestRefused as refused:
            await _refuse(reader, writer, refused.response)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # the peer went away, sends nothing or reads nothing: it cannot be answered
        finally:
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: TrackedConnection
    ) -> None:
        """Serve one request after another. Raises Refused."""
        wait_s = SILENT_S
        while True:
            async with asyncio.timeout(wait_s):
                first = await reader.read(1)
            if not first:
                return
            place.touch()
            if not await self._exchange(first, reader, writer, place):
                return
            wait_s = IDLE_S

    async def _exchange(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: TrackedConnection
    ) -> bool:
        """Read one request after its first byte and answer it; return whether the connection stays open. Raises
        Refused.
        """
        async with asyncio.timeout(REQUEST_S):
            try:
                head = Head.parsed(first + await reader.readuntil(b"\r\n\r\n"))
            except asyncio.LimitOverrunError:
                raise RequestRefused(431, f"at most {MAX_HEAD} bytes of head") from None
            if head.expects_continue and head.body_bytes:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(head.body_bytes)
        request = Request(head.method, head.path, head.query, body, head.host, head.from_page)
        if self._guard is not None:
            self._guard(request)
        await self._turn(place.peer)
        began = thread_time()  # CPU time, not wall time: a scraper must not pay for other work on this machine
        response = await self._answer(request)
        self._answer_s += (thread_time() - began - self._answer_s) / 8
        await _send(writer, response, head)
        return head.keep

    async def _turn(self, peer: Hashable) -> None:
        """Wait until this peer may be answered again, so that answers to it take a bounded share of the loop."""
        now = monotonic()
        turn = max(now - BURST_S, self._turns.get(peer, 0.0))
        if turn - now > REQUEST_S:
            raise TimeoutError
        if len(self._turns) > MAX_TURNS:
            self._turns = {other: at for other, at in self._turns.items() if at > now - BURST_S}
        self._turns[peer] = turn + self._answer_s * PEER_SHARE
        await asyncio.sleep(max(0.0, turn - now))

    async def _answer(self, request: Request) -> Response:
        route = self._routes.get(("GET" if request.method == "HEAD" else request.method, request.path))
        if route is None:
            allowed = sorted(method for method, path in self._routes if path == request.path)
            if not allowed:
                return Response(b"404 page not found\n", 404)
            return Response(b"method not allowed\n", 405, allow=", ".join(allowed))
        try:
            answer = route(request)
            return answer if isinstance(answer, Response) else await answer
        except HoldfastError as error:
            return Response(f"{error}\n".encode(errors="replace"), 400)
        except Exception as error:  # a route that breaks must not take the listener with it
            LOG.error("request failed", path=request.path, error=f"{type(error).__name__}: {error}")
            return Response(b"internal error\n", 500)


async def _send(writer: asyncio.StreamWriter, response: Response, head: Head | None = None) -> None:
    """Write the answer to ``head``; without a head the connection is closed afterwards."""
    lines = [f"HTTP/1.1 {response.status} {_REASONS[response.status]}", f"Content-Type: {response.content_type}"]
    body = response.body
    if head is not None and head.gzip and len(body) >= GZIP_FROM:
        small = len(body) < GZIP_IN_THREAD_FROM
        body = _gzipped(body) if small else await asyncio.to_thread(_gzipped, body)
        lines += ["Content-Encoding: gzip", "Vary: Accept-Encoding"]
    if response.allow:
        lines.append(f"Allow: {response.allow}")
    keep = head is not None and head.keep
    lines += [f"Content-Length: {len(body)}", f"Connection: {'keep-alive' if keep else 'close'}", "\r\n"]
    writer.write("\r\n".join(lines).encode("latin-1"))
    if head is None or head.method != "HEAD":
        writer.write(body)
    async with asyncio.timeout(REQUEST_S):
        await writer.drain()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, response: Response) -> None:
    with suppress(TimeoutError, ConnectionError):
        await _send(writer, response)
        writer.write_eof()
        async with asyncio.timeout(LINGER_S):
            while await reader.read(MAX_HEAD):
                pass


def _gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)  # 31: gzip's own header
    return packer.compress(body) + packer.flush()
