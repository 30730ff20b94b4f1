"""The plugin of the page. Its modules are imported only where `web.address` is set: most nodes have no page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from holdfast.errors import SkipPlugin
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import PLACEMENT, WEB

if TYPE_CHECKING:
    from holdfast.plugins.web.site import Site


@plugin(WEB, "page", requires=[PLACEMENT])
async def page(context: InitContext) -> AsyncIterator[Site]:
    """Serve a page about the node to a browser on this machine."""
    if not context.settings.web.address:
        raise SkipPlugin("web.address is empty")
    from holdfast.plugins.web.site import Site

    site = Site(context, next(iter(context.all(PLACEMENT).values()), None))
    context.background("node", site.node.follow)
    context.background("victims", site.victims.follow)
    yield site
