"""The plugin of the page. The modules that show it are imported with the first request: most nodes show none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from holdfast.errors import SkipPlugin
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import PLACEMENT, WEB

if TYPE_CHECKING:
    from holdfast.plugin.services import Page, PageRequest
    from holdfast.plugins.web.site import Site


class Pages:
    """The addresses of the pages. ``placement`` is the API's service, None where its plugin does not run."""

    def __init__(self, context: InitContext, placement: Any | None) -> None:
        self._context, self._placement = context, placement

    def register_web(self, registrar: Any) -> None:
        """Register the pages."""
        registrar.page("/", self._overview)
        registrar.page("/processes", self._processes)
        registrar.page("/process", self._process)

    async def _overview(self, request: PageRequest) -> Page:
        return await self._site.overview(request)

    async def _processes(self, request: PageRequest) -> Page:
        return await self._site.processes(request)

    async def _process(self, request: PageRequest) -> Page:
        return await self._site.process(request)

    @cached_property
    def _site(self) -> Site:
        from holdfast.plugins.web.site import Site

        site = Site(self._context, self._placement)
        self._context.background("node", site.node.follow)
        self._context.background("victims", site.victims.follow)
        return site


@plugin(WEB, "page", requires=[PLACEMENT])
async def page(context: InitContext) -> AsyncIterator[Pages]:
    """Serve a page about the node to a browser on this machine."""
    if not context.settings.web.address:
        raise SkipPlugin("web.address is empty")
    yield Pages(context, next(iter(context.all(PLACEMENT).values()), None))
