"""The configuration in force over the API: what ``holdfast config show`` prints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from holdfast.api.config.v1 import config_pb2 as api
from holdfast.api.config.v1 import config_pb2_grpc as api_grpc
from holdfast.inert import valid
from holdfast.plugin import InitContext, plugin
from holdfast.plugin.context import Configuration
from holdfast.plugins.kinds import API
from holdfast.plugins.message import timestamp

_SERVICE = "holdfast.config.v1.Config"


class ConfigServicer(api_grpc.ConfigServicer):
    """``holdfast.config.v1.Config``."""

    def __init__(self, in_force: Callable[[], Configuration]) -> None:
        self._in_force = in_force

    def register_grpc(self, registrar: Any) -> None:
        """Register this service."""
        api_grpc.add_ConfigServicer_to_server(self, registrar)

    register_tcp = register_grpc

    async def Show(self, request: api.ShowRequest, call: object) -> api.ShowResponse:  # noqa: N802
        """Return the configuration that is in force now."""
        now = self._in_force()
        return api.ShowResponse(
            config_json=msgspec.json.encode(now.values).decode(),
            hash=now.hash,
            files=map(valid, now.files),
            needs_restart=map(valid, now.needs_restart),
            refused=valid(now.refused),
            is_last_good=now.is_last_good,
            in_force_since=timestamp(now.since_unix_ns),
        )


@plugin(API, "config", services=(_SERVICE,))
async def config(context: InitContext) -> AsyncIterator[ConfigServicer]:
    """Serve the daemon's configuration."""
    yield ConfigServicer(context.daemon.configuration)
