"""Registration of the NRI plugin: opens the link, also for a runtime that starts the plugin itself."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from holdfast.errors import ConfigError, SkipPlugin
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import EVENTS, NRI, PLACEMENT, PODS
from holdfast.plugins.node.nri.config import NriConfig

if TYPE_CHECKING:
    from holdfast.plugins.node.nri.link import Link

#: The environment of a plugin that the runtime starts itself: the number of an open socket, a name, two digits.
SOCKET, NAME, INDEX = "NRI_PLUGIN_SOCKET", "NRI_PLUGIN_NAME", "NRI_PLUGIN_IDX"


@plugin(NRI, "plugin", requires=[EVENTS, PODS, PLACEMENT], config=NriConfig)
async def nri(context: InitContext) -> AsyncIterator[Link]:
    """Act as a runtime's plugin while the daemon runs, whether or not a runtime is there."""
    started_by_runtime = SOCKET in os.environ
    if not (context.config.enabled or started_by_runtime):
        raise SkipPlugin("off: it is trusted with every container of the node; enabled: true turns it on")
    from holdfast.plugins.node.nri.link import open_link

    with open_link(context, _told(os.environ) if started_by_runtime else None) as link:
        context.background("nri.link", _once(link) if started_by_runtime else link.keep, once=started_by_runtime)
        yield link


def _told(environ: Mapping[str, str]) -> tuple[int, str, str]:
    """Return the socket, name and index that a runtime gave.

    Raises:
        ConfigError: the socket is no open descriptor.
    """
    try:
        descriptor = int(environ[SOCKET])
        os.fstat(descriptor)
    except (ValueError, OSError) as error:
        raise ConfigError(f'{SOCKET}: "{environ[SOCKET]}" is no open descriptor ({error}); unset it') from None
    return descriptor, environ.get(NAME, "holdfast"), environ.get(INDEX, "10")


def _once(link: Link):  # type: ignore[no-untyped-def]
    """Return a job that ends the daemon with the connection: a runtime that comes back starts another plugin."""

    async def serve() -> None:
        await link.once()
        os.kill(os.getpid(), signal.SIGTERM)

    return serve
