"""HTTP for browsers on this machine: the pages that a plugin registers by ``register_web``, read-only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from holdfast.config import Settings
from holdfast.listener.listening import Listening
from holdfast.plugin import Endpoint, InitContext, SkipPlugin, server
from holdfast.plugin.serving import ServingBoard

if TYPE_CHECKING:
    from holdfast.plugins.servers.web_pages import WebPages


class WebServer:
    """The web endpoint, with a table of the pages."""

    offered_by = "register_web"

    def __init__(self, board: ServingBoard) -> None:
        self._board = board

    def table(self, listening: Listening) -> WebPages:
        """Return the table of the pages."""
        from holdfast.plugins.servers.web_pages import WebPages

        self._pages = WebPages(self._board, is_private=all(endpoint.is_unix for endpoint in listening.endpoints))
        return self._pages

    async def start(self, listening: Listening) -> None:
        """Serve on each endpoint; requests that write, and those of other sites' pages, are refused."""
        from holdfast.plugins.servers.web_pages import guard_web

        for endpoint in listening.endpoints:
            await listening.serve_http(endpoint, self._pages.routes(), guard_web)


def _endpoints(settings: Settings, _: None) -> list[Endpoint]:
    section = settings.web
    is_default = section.address == Settings().web.address
    endpoint = Endpoint("web", "web endpoint", section.address, section.uid, section.gid, optional=is_default)
    return [endpoint] if section.address else []


@server("web", _endpoints)
async def web(context: InitContext) -> AsyncIterator[WebServer]:
    """Serve pages where an address is set."""
    if not context.settings.web.address:
        raise SkipPlugin
    yield WebServer(context.serving)
