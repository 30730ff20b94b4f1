"""The NRI plugin: it sets a rule's values before a container's first instruction. Off unless it is turned on.

A runtime's NRI plugin may change every container of the node, so it needs trust of its own. `holdfast.pods.nri` makes
the answers, `holdfast.node.plan.creation` chooses the rule, `holdfast.ttrpc.mux` is the wire.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from holdfast.config import Duration
from holdfast.errors import ConfigError, SkipPlugin
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import EVENTS, NRI, PLACEMENT, PODS

if TYPE_CHECKING:
    from holdfast.plugins.nri.link import Link

#: The environment of a plugin that the runtime starts itself: the number of an open socket, a name, two digits.
SOCKET, NAME, INDEX = "NRI_PLUGIN_SOCKET", "NRI_PLUGIN_NAME", "NRI_PLUGIN_IDX"
NAMESPACE = "holdfast"  # of the events
SERVICE = "nri.pkg.api.v1alpha1.Plugin"  # its name in health: serving while a runtime has us


class NriConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the container runtime's plugin, which sets values before a container's first instruction."""

    enabled: Annotated[
        bool, Meta(description="be an NRI plugin. It is root-equivalent trust: a plugin may change any container")
    ] = False
    socket_path: Annotated[str, Meta(min_length=1, description="the runtime's socket for plugins")] = (
        "/var/run/nri/nri.sock"
    )
    plugin_name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.+-]+$", description="the name it registers under")] = (
        "holdfast"
    )
    plugin_index: Annotated[
        str,
        Meta(pattern="^[0-9]{2}$", description="its place among the runtime's plugins; lower ones are called first"),
    ] = "10"
    budget: Annotated[
        Duration,
        Meta(gt=0, le=2, description="time for one answer; then the container is created as the kubelet requested"),
    ] = 0.5
    lowest_oom_score_adj: Annotated[
        int,
        Meta(
            ge=-1000,
            le=1000,
            description="values below it are not given at creation: a runtime without CAP_SYS_RESOURCE fails a "
            "container whose value it may not lower. 0 leaves all negative ones to the daemon itself",
        ),
    ] = -1000


@plugin(NRI, "plugin", requires=[EVENTS, PODS, PLACEMENT], config=NriConfig)
async def nri(context: InitContext) -> AsyncIterator[Link]:
    """Act as a runtime's plugin while the daemon runs, whether or not a runtime is there."""
    started_by_runtime = SOCKET in os.environ
    if not (context.config.enabled or started_by_runtime):
        raise SkipPlugin("off: it is trusted with every container of the node; enabled: true turns it on")
    from holdfast.plugins.nri.link import open_link

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
