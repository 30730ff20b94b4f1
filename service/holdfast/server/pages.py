"""Routes of the metrics and debug endpoints.

The debug endpoint belongs on a unix socket, whose mode and owner restrict its users. On an address it only reads, and
refuses every request that a web page could make: a request that names this endpoint by a host name (a page's own name
may resolve to any address, ours too), or whose headers say that a page made it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import holdfast
from holdfast import log
from holdfast.metrics import CONTENT_TYPE, Registry
from holdfast.server import thread_dump
from holdfast.server.http import Request, RequestRefused, Response, Routes

LOG = log.named(__name__)
_FRONT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>holdfast</title></head>
<body><h1>holdfast {version}</h1><p>Health: {health}</p><ul><li><a href="/metrics">Metrics</a></li></ul></body></html>
"""
_FRONT_HEADERS = (("Content-Security-Policy", "default-src 'none'"), ("X-Content-Type-Options", "nosniff"))


def metrics_routes(registry: Registry, serves: Callable[[], bool]) -> Routes:
    """Routes of ``/metrics``, of ``/v1/metrics``, the path in containerd, and of ``/`` for a person at the port.

    ``/`` has nothing that a scrape does not have, as it has the same readers.
    """

    def scrape(_: Request) -> Response:
        return Response(registry.text(), content_type=CONTENT_TYPE)

    def front(_: Request) -> Response:
        health = "serves" if serves() else "does not serve"
        page = _FRONT.format(version=holdfast.__version__, health=health)
        return Response(page.encode(), content_type="text/html; charset=utf-8", headers=_FRONT_HEADERS)

    return {("GET", "/metrics"): scrape, ("GET", "/v1/metrics"): scrape, ("GET", "/"): front}


def guard_address(request: Request) -> None:
    """Accept only requests that a person or a program sends to the debug endpoint by its address.

    Raises:
        Refused: it writes, or a web page may have made the request.
    """
    if request.method not in ("GET", "HEAD"):
        raise RequestRefused(403, "only a unix socket takes changes: set debug.address to a path")
    if request.from_page or not is_address(request.host):
        raise RequestRefused(403, "not for web pages: ask by address, as in http://127.0.0.1:PORT/")


def is_address(host: str) -> bool:
    """Whether a Host header has an IP address or ``localhost``, neither of which is a page's name."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name = host
    if name == "localhost":
        return True
    family = socket.AF_INET6 if name.startswith("[") else socket.AF_INET
    try:
        socket.inet_pton(family, name.removeprefix("[").removesuffix("]"))
    except (OSError, ValueError):
        return False
    return True


def debug_routes(config_text: Callable[[], str], level: Callable[[], str], set_level: Callable[[str], None]) -> Routes:
    """Routes of the stacks, the tasks, the configuration in force, and the log level, which can be changed."""

    def change_level(request: Request) -> Response:
        set_level(request.body.decode(errors="replace").strip() or request.query.get("level", ""))
        LOG.info("log level changed", level=level())
        return Response(f"{level()}\n".encode())

    return {
        ("GET", "/debug/stacks"): lambda _: Response(thread_dump.text().encode()),
        ("GET", "/debug/tasks"): lambda _: Response(_tasks().encode()),
        ("GET", "/debug/config"): lambda _: Response(config_text().encode(), content_type="application/json"),
        ("GET", "/debug/loglevel"): lambda _: Response(f"{level()}\n".encode()),
        ("PUT", "/debug/loglevel"): change_level,
    }


def _tasks() -> str:
    return "".join(f"{name}\n" for name in sorted(task.get_name() for task in asyncio.all_tasks()))
