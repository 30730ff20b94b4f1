"""A page's plugin without a daemon: its context, and its site over a placement API of a test's choice."""

from __future__ import annotations

from types import SimpleNamespace

from holdfast.plugin import PluginSet
from holdfast.plugin.context import Configuration
from holdfast.plugin.serving import ServingBoard
from holdfast.plugins.web.site import Site

from tests.fakes.placement_api import PlacementApi


def site_of(api: PlacementApi | None, *, serves: bool = True, **configuration: object) -> tuple[Site, ServingBoard]:
    """A site, and the board of its daemon."""
    board = ServingBoard()
    board.set("", serves)
    board.set("a.Service", serves)
    found = Configuration(**{"values": {}, "hash": "abc" * 20, "since_unix_ns": 0, **configuration})  # type: ignore[arg-type]
    daemon = SimpleNamespace(configuration=lambda: found)
    context = SimpleNamespace(serving=board, daemon=daemon, plugins=PluginSet())
    return Site(context, api), board  # type: ignore[arg-type]
