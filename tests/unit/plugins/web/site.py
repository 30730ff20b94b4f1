"""A page's plugin without a daemon: its context, and its site over a placement API of a test's choice."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from holdfast.plugin import PluginSet
from holdfast.plugin.context import Configuration
from holdfast.plugin.serving import ServingBoard
from holdfast.plugins.web.plugin import Pages
from holdfast.plugins.web.site import Site

from tests.fakes.placement_api import PlacementApi


def site_of(api: PlacementApi | None, *, serves: bool = True, **configuration: object) -> tuple[Site, ServingBoard]:
    """A site, and the board of its daemon."""
    context = _context(serves=serves, **configuration)
    return Site(context, api), context.serving


def pages_of(
    api: PlacementApi, background: Callable[[str, Callable[[], object]], object]
) -> tuple[Pages, ServingBoard]:
    """The plugin's pages, and the board of its daemon, which runs its jobs by ``background``."""
    context = _context()
    context.background = background
    return Pages(context, api), context.serving


def _context(*, serves: bool = True, **configuration: object) -> Any:
    board = ServingBoard()
    board.set("", serves)
    board.set("a.Service", serves)
    found = Configuration(**{"values": {}, "hash": "abc" * 20, "since_unix_ns": 0, **configuration})  # type: ignore[arg-type]
    daemon = SimpleNamespace(configuration=lambda: found)
    return SimpleNamespace(serving=board, daemon=daemon, plugins=PluginSet())
