"""Plugins in other processes: each has a name here and a gRPC address, which is dialled by the first call.

containerd lists a proxy as ready without dialling it; so does holdfast, and the first call shows the state. An unknown
type makes containerd panic; here the configuration is refused, with a list of the types (config.schema, `ProxyPlugin`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc

from holdfast.config.schema import ProxyPlugin
from holdfast.plugin import InitContext, Kind, Registration
from holdfast.plugins.kinds import CONTENT, DIFFER, SANDBOX, SNAPSHOT
from holdfast.plugins.proxy.forward import RemoteDiffer, RemoteSnapshotter
from holdfast.plugins.proxy.remote import RemoteContent

KINDS: dict[str, Kind[Any]] = {"content": CONTENT, "snapshot": SNAPSHOT, "diff": DIFFER, "sandbox": SANDBOX}
_SPOKEN: dict[str, Callable[[grpc.aio.Channel], Any]] = {
    "content": RemoteContent,
    "snapshot": RemoteSnapshotter,
    "diff": RemoteDiffer,
}


class Proxy:
    """One plugin in another process. Proxies of one address share a connection."""

    _shared: dict[str, grpc.aio.Channel] = {}  # noqa: RUF012 (connections are the process's, not a proxy's)

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection, made on first use."""
        channel = self._shared.get(self.address)
        if channel is None:
            channel = self._shared[self.address] = grpc.aio.insecure_channel(f"unix:{self.address}")
        return channel

    async def close(self) -> None:
        """Close the connection, for every proxy that shares it."""
        channel = self._shared.pop(self.address, None)
        if channel is not None:
            await channel.close()


def proxies(configured: Mapping[str, ProxyPlugin]) -> list[Registration]:
    """A registration for each configured proxy."""
    return [
        Registration(KINDS[proxy.type], name, _init(proxy), origin=f"proxy_plugins.{name}")
        for name, proxy in configured.items()
    ]


def _init(proxy: ProxyPlugin) -> Any:
    async def init(context: InitContext) -> AsyncIterator[Any]:
        made = Proxy(proxy.address.removeprefix("unix://"))
        context.exports.update({"address": proxy.address, **proxy.exports})
        context.capabilities.extend(proxy.capabilities)
        speak = _SPOKEN.get(proxy.type)
        yield speak(made.channel) if speak else made
        await made.close()

    return init
