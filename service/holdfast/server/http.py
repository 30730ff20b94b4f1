"""Just enough HTTP/1.1 for a scraper and a person with curl: GET and PUT on a table of paths, one request at a time.

RFC 9112. Bounded in every direction: header and body size, time for a request, connections. A web framework would
cost more memory than the rest of the daemon's listeners together.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from holdfast import log
from holdfast.errors import HoldfastError

LOG = log.named(__name__)
MAX_HEAD = 16 << 10
MAX_BODY = 64 << 10
MAX_CONNECTIONS = 128
REQUEST_S = 10.0  # from the first byte waited for to the last one read
IDLE_S = 120.0  # a scraper keeps its connection between scrapes

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a route is handed."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What it answers."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


Route = Callable[[Request], Awaitable[Response] | Response]
Routes = Mapping[tuple[str, str], Route]  # (method, path) → route


class HttpServer:
    """Serves ``routes`` on one listening socket."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._paths = {path for _, path in routes}
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve on ``sock``, which this now owns."""
        self._server = await asyncio.start_server(self._connection, sock=sock, limit=MAX_HEAD)

    async def close(self) -> None:
        """Stop accepting and cut what is open."""
        if self._server is None:
            return
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if len(self._open) > MAX_CONNECTIONS:
                await _send(writer, Response(b"too many connections\n", 503), keep=False)
                return
            while await self._exchange(reader, writer):
                pass
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # the peer went away or said nothing for too long: nobody is left to tell
        finally:
            self._open.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection stays open."""
        first = await asyncio.wait_for(reader.read(1), IDLE_S)
        if not first:
            return False
        try:
            request, keep = await asyncio.wait_for(_read(first, reader), REQUEST_S)
        except _Refused as refused:
            await _send(writer, refused.response, keep=False)
            return False
        await _send(writer, await self._answer(request), keep=keep, head=request.method == "HEAD")
        return keep

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        route = self._routes.get((method, request.path))
        if route is None:
            known = request.path in self._paths
            return Response(b"method not allowed\n", 405) if known else Response(b"404 page not found\n", 404)
        try:
            answer = route(request)
            return answer if isinstance(answer, Response) else await answer
        except HoldfastError as error:
            return Response(f"{error}\n".encode(), 400)
        except Exception as error:  # a route that breaks must not take the listener with it
            LOG.error("request failed", path=request.path, error=f"{type(error).__name__}: {error}")
            return Response(b"internal error\n", 500)


class _Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        self.response = Response(f"{why}\n".encode(), status)


async def _read(first: bytes, reader: asyncio.StreamReader) -> tuple[Request, bool]:
    try:
        head = first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _Refused(431, "request head too large") from None
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _Refused(400, "not an HTTP/1.1 request")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    url = urlsplit(words[1])
    if "transfer-encoding" in headers:
        raise _Refused(400, "send a Content-Length")
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY:
        raise _Refused(413, f"at most {MAX_BODY} bytes")
    body = await reader.readexactly(int(length))
    wanted = headers.get("connection", "").lower()
    keep = wanted != "close" if words[2] == "HTTP/1.1" else wanted == "keep-alive"
    return Request(words[0], url.path, dict(parse_qsl(url.query)), body), keep


async def _send(writer: asyncio.StreamWriter, response: Response, *, keep: bool, head: bool = False) -> None:
    writer.write(
        f"HTTP/1.1 {response.status} {_REASONS[response.status]}\r\n"
        f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n"
        f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode("latin-1")
    )
    if not head:
        writer.write(response.body)
    await asyncio.wait_for(writer.drain(), REQUEST_S)
