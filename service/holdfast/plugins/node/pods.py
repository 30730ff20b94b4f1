"""The directory of this node's pods, for the pod of a process: filled over CRI here, and by other plugins too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from holdfast import log
from holdfast.config import Duration
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import PODS
from holdfast.pods.directory import Directory
from holdfast.pods.runtime import LOOK_AGAIN_S, NAMES_ALONE, RuntimeSource

if TYPE_CHECKING:
    from holdfast.pods.metrics import PodMetrics

LOG = log.named(__name__)


class CriConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the queries to the container runtime."""

    enabled: Annotated[
        Literal["auto"] | bool, Meta(description="auto: when a well-known runtime's socket is there; false: never")
    ] = "auto"
    address: Annotated[
        str, Meta(description="the runtime's socket; empty: containerd's, CRI-O's, k3s's, k0s's or microk8s's")
    ] = ""
    relist: Annotated[
        Duration, Meta(ge=1, le=3600, description="time between two whole lists; a new container is queried at once")
    ] = 10.0
    events: Annotated[
        Literal["auto"] | bool,
        Meta(description="listen to the runtime's events; auto: where that takes none from the kubelet"),
    ] = "auto"


class PodsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration of the pods' directory."""

    cri: CriConfig = CriConfig()


@plugin(PODS, "directory", config=PodsConfig)
async def pods(context: InitContext) -> AsyncIterator[Directory]:
    """Keep the directory. Without a runtime it is empty, and pods are known by their cgroups' names alone."""
    directory = Directory()
    metrics = _ask_the_runtime(context, directory) if context.config.cri.enabled is not False else None
    yield directory
    if metrics is not None:
        metrics.unregister(context.metrics)


def _ask_the_runtime(context: InitContext, directory: Directory) -> PodMetrics:
    """Query over CRI from now on; the client is imported when there is a runtime's socket."""
    from holdfast.pods.metrics import PodMetrics

    cri: CriConfig = context.config.cri
    metrics = PodMetrics(directory)
    metrics.register(context.metrics)
    events = None if cri.events == "auto" else cri.events
    source = RuntimeSource(cri.address, cri.relist, events, context.places.proc_root)

    async def ask() -> None:
        why_none = source.why_none
        directory.why_not = lambda: why_none
        if not source.found():
            (LOG.warning if cri.enabled is True or cri.address else LOG.info)(NAMES_ALONE, why=why_none)
        while not source.found():  # noqa: ASYNC110 (no event reports a new file)
            await asyncio.sleep(LOOK_AGAIN_S)
        from holdfast.pods.cri import CriClient

        client = CriClient(source, directory, metrics)
        directory.why_not = lambda: client.why_not
        await client.run()

    context.background("cri", ask)
    return metrics
