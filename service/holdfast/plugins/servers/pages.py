"""Routes of the metrics and debug endpoints.

The debug endpoint belongs on a unix socket, whose mode and owner restrict its users. On an address it only reads, and
refuses every request that a web page could make: a request that names this endpoint by a host name (a page's own name
may resolve to any address, ours too), or whose headers say that a page made it.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec

import holdfast
from holdfast import log
from holdfast.listener.http import Request, RequestRefused, Response, Routes
from holdfast.metrics import CONTENT_TYPE, OPENMETRICS_TYPE, Registry

LOG = log.named(__name__)
_FRONT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>holdfast</title></head>
<body><h1>holdfast {version}</h1><p>Health: {health}</p><ul><li><a href="/metrics">Metrics</a></li></ul></body></html>
"""
_FRONT_HEADERS = (("Content-Security-Policy", "default-src 'none'"), ("X-Content-Type-Options", "nosniff"))


def metrics_routes(registry: Registry, serves: Callable[[], bool]) -> Routes:
    """Routes of ``/metrics``, of ``/v1/metrics``, the path in containerd, and of ``/`` for a person at the port.

    Metrics are in OpenMetrics for clients that ask. ``/`` has nothing that a scrape does not have, as it has the same
    readers.
    """

    def scrape(request: Request) -> Response:
        form = OPENMETRICS_TYPE if request.openmetrics else CONTENT_TYPE
        return Response(registry.text(openmetrics=request.openmetrics), content_type=form)

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
    """Whether a Host header has an IP address of an interface or ``localhost``, neither of which is a page's name."""
    address = _address_in(host)
    return address is not None and not _is_another_name_of_loopback(address)


def is_loopback(host: str) -> bool:
    """Whether a Host header has ``localhost`` or a loopback address, as a browser knows them."""
    address = _address_in(host)
    return address is not None and address.is_loopback and not _is_another_name_of_loopback(address)


def _address_in(host: str) -> IPv4Address | IPv6Address | None:
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name = host
    if name == "localhost":
        return IPv4Address("127.0.0.1")
    try:
        if name.startswith("["):
            return IPv6Address(name.removeprefix("[").removesuffix("]"))
        return IPv4Address(name)
    except ValueError:
        return None


def _is_another_name_of_loopback(address: IPv4Address | IPv6Address) -> bool:
    """Whether connecting to an address ends at loopback and a browser does not see that: it sends no
    ``Sec-Fetch-Site`` there (Chromium 156: 0.0.0.0, ::, ::ffff:127.0.0.1), so that any page could ask.
    """
    return address.is_unspecified or (isinstance(address, IPv6Address) and address.ipv4_mapped is not None)


def debug_routes(
    stacks: Callable[[bool], str],
    configuration: Callable[[], dict[str, Any]],
    level: Callable[[], str],
    set_level: Callable[[str], None],
) -> Routes:
    """Routes of the stacks, the tasks, the configuration in force, and the log level, which can be changed.

    ``stacks`` returns those of all threads and tasks, or with False those of the tasks alone.
    """

    def show(_: Request) -> Response:
        text = msgspec.json.format(msgspec.json.encode(configuration()), indent=2)
        return Response(text + b"\n", content_type="application/json")

    def change_level(request: Request) -> Response:
        set_level(request.body.decode(errors="replace").strip() or request.query.get("level", ""))
        LOG.info("log level changed", level=level())
        return Response(f"{level()}\n".encode())

    return {
        ("GET", "/debug/stacks"): lambda _: Response(stacks(True).encode()),
        ("GET", "/debug/tasks"): lambda _: Response(stacks(False).encode()),
        ("GET", "/debug/config"): show,
        ("GET", "/debug/loglevel"): lambda _: Response(f"{level()}\n".encode()),
        ("PUT", "/debug/loglevel"): change_level,
    }
