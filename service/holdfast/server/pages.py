"""What the metrics and debug endpoints answer. The debug endpoint asks nobody who they are: keep it on a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast import log
from holdfast.metrics import CONTENT_TYPE, Registry
from holdfast.server import stacks
from holdfast.server.http import Request, Response, Routes

LOG = log.named(__name__)


def metrics_routes(registry: Registry) -> Routes:
    """``/metrics``, and ``/v1/metrics`` where containerd has it."""

    def scrape(_: Request) -> Response:
        return Response(registry.text(), content_type=CONTENT_TYPE)

    return {("GET", "/metrics"): scrape, ("GET", "/v1/metrics"): scrape}


def debug_routes(config_text: Callable[[], str], level: Callable[[], str], set_level: Callable[[str], None]) -> Routes:
    """Stacks, tasks, the configuration in force, and the log level to read and to change."""

    def change_level(request: Request) -> Response:
        set_level(request.body.decode(errors="replace").strip() or request.query.get("level", ""))
        LOG.info("log level changed", level=level())
        return Response(f"{level()}\n".encode())

    return {
        ("GET", "/debug/stacks"): lambda _: Response(stacks.text().encode()),
        ("GET", "/debug/tasks"): lambda _: Response(_tasks().encode()),
        ("GET", "/debug/config"): lambda _: Response(config_text().encode(), content_type="application/json"),
        ("GET", "/debug/loglevel"): lambda _: Response(f"{level()}\n".encode()),
        ("PUT", "/debug/loglevel"): change_level,
    }


def _tasks() -> str:
    return "".join(f"{name}\n" for name in sorted(task.get_name() for task in asyncio.all_tasks()))
