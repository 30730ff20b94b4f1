"""The introspection service: the plugins that were tried, their states, and this daemon's identity.

As in containerd it is two plugins: the service for other plugins of the process, and the gRPC service.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status
from msgspec import Struct

from holdfast.api.services.introspection.v1 import introspection_pb2_grpc
from holdfast.api.services.introspection.v1.introspection_pb2 import (
    Plugin,
    PluginInfoRequest,
    PluginInfoResponse,
    PluginsRequest,
    PluginsResponse,
    ServerResponse,
)
from holdfast.errors import FailedPrecondition, NotFound, Unavailable, Unimplemented, code_of
from holdfast.failure import sentence
from holdfast.filters import parse_all
from holdfast.inert import valid
from holdfast.plugin import InitContext, PluginState, State, plugin
from holdfast.plugins.kinds import GRPC, SERVICE

SERVICE_ID = "introspection-service"
#: An export with this prefix says that something in use is deprecated: its name, and what to do. As in containerd.
DEPRECATION = "io.containerd.deprecation/"


class Tried(Protocol):
    """The plugins that the daemon tried to start, in order."""

    def __iter__(self) -> Iterator[PluginState]:
        """Every tried plugin."""


class Introspection(Struct, frozen=True):
    """The data of the responses. ``identity`` is a UUID that survives restarts; ``since_unix_ns`` is the start."""

    tried: Tried
    identity: str
    process: int
    pid_namespace: int
    since_unix_ns: int = 0

    def plugins(self, filters: Iterable[str]) -> Iterator[Plugin]:
        """Tried plugins that any filter over ``type`` and ``id`` matches, in the order they were started.

        Raises:
            InvalidArgument: a broken filter.
        """
        wanted = parse_all(filters)
        return (described(state) for state in self.tried if wanted.match(_Filtered(state)))

    def server(self) -> ServerResponse:
        """Return this daemon's UUID, pid and pid namespace, and the deprecations that the plugins report."""
        answer = ServerResponse(uuid=self.identity, pid=self.process, pidns=self.pid_namespace)
        deprecations: Any = answer.deprecations  # mypy takes the message DeprecationWarning for Python's own class
        for state in self.tried:
            for name, message in state.exports.items():
                if name.startswith(DEPRECATION):
                    found = deprecations.add(id=name, message=valid(message))
                    found.last_occurrence.FromNanoseconds(self.since_unix_ns)
        return answer

    async def plugin_info(self, kind: str, name: str, options: AnyMessage | None) -> PluginInfoResponse:
        """Return one plugin; with ``options``, also the answer of its instance's ``plugin_info``.

        Raises:
            NotFound: no such plugin.
            FailedPrecondition: there are options, and the plugin is not ready.
            Unimplemented: there are options, and its instance has no ``plugin_info``.
        """
        found = next(
            (one for one in self.tried if (one.registration.kind.uri, one.registration.id) == (kind, name)), None
        )
        if found is None:
            raise NotFound(f"plugin {kind}.{name}")
        answer = PluginInfoResponse(plugin=described(found))
        if options is not None:
            if found.state is not State.READY:
                raise FailedPrecondition(f"plugin {found.uri} is not ready, so it says nothing of itself")
            if not hasattr(found.instance, "plugin_info"):
                raise Unimplemented(f"plugin {found.uri} says nothing more of itself")
            answer.extra.Pack(await found.instance.plugin_info(options))
        return answer


class _Filtered(Struct, frozen=True):
    """The fields containerd lets a filter see."""

    state: PluginState

    def field(self, path: Sequence[str]) -> tuple[str, bool]:
        registration = self.state.registration
        value = {"type": registration.kind.uri, "id": registration.id}.get(path[0], "")
        return value, bool(value)


def described(state: PluginState) -> Plugin:
    """A plugin's state as a message; an error carries the code its class has for clients, a fault is UNAVAILABLE."""
    source = {"distribution": state.registration.distribution} if state.registration.distribution else {}
    error = state.error or (Unavailable("; ".join(state.faults.values())) if state.faults else None)
    return Plugin(
        type=state.registration.kind.uri,
        id=state.registration.id,
        requires=[kind.uri for kind in state.registration.requires],
        exports={valid(str(key)): valid(str(value)) for key, value in (source | dict(state.exports)).items()},
        capabilities=[valid(str(one)) for one in state.capabilities],
        init_err=Status(code=code_of(error), message=valid(sentence(error))) if error else None,
    )


def lasting_uuid(path: Path) -> str:
    """The UUID kept in ``path`` (mode 0600), made when there is none; written whole or not at all.

    Raises:
        FailedPrecondition: the file holds something else.
    """
    kept = path.read_text().strip() if path.exists() else ""
    if not kept:
        kept = str(uuid.uuid4())
        fresh = path.with_name(f"{path.name}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(kept)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    try:
        return str(uuid.UUID(kept))
    except ValueError:
        raise FailedPrecondition(f"{path}: {kept[:40]!r} is not a UUID; remove the file to get a new one") from None


class IntrospectionService(introspection_pb2_grpc.IntrospectionServicer):
    """The gRPC service."""

    def __init__(self, introspection: Introspection) -> None:
        self._introspection = introspection

    async def Plugins(self, request: PluginsRequest, context: object) -> PluginsResponse:  # noqa: N802
        """Return the plugins that match any of the filters."""
        return PluginsResponse(plugins=self._introspection.plugins(request.filters))

    async def PluginInfo(self, request: PluginInfoRequest, context: object) -> PluginInfoResponse:  # noqa: N802
        """Return one plugin, and its own answer to the options, if there are any."""
        options = request.options if request.HasField("options") else None
        return await self._introspection.plugin_info(request.type, request.id, options)

    async def Server(self, request: object, context: object) -> ServerResponse:  # noqa: N802
        """Return the daemon's UUID, pid and pid namespace, and what is deprecated in its use."""
        return self._introspection.server()

    def register_grpc(self, registrar: Any) -> None:
        """Offer the service on every gRPC listener."""
        introspection_pb2_grpc.add_IntrospectionServicer_to_server(self, registrar)

    register_tcp = register_grpc


@plugin(SERVICE, SERVICE_ID)
async def introspection_service(context: InitContext) -> AsyncIterator[Introspection]:
    """Give the plugins' states and this daemon's lasting UUID."""
    identity = lasting_uuid(context.root_dir / "uuid")
    yield Introspection(context.plugins, identity, os.getpid(), os.stat("/proc/self/ns/pid").st_ino, time.time_ns())


@plugin(GRPC, "introspection", requires=[SERVICE], services=["containerd.services.introspection.v1.Introspection"])
async def introspection(context: InitContext) -> AsyncIterator[IntrospectionService]:
    """Serve introspection over gRPC."""
    yield IntrospectionService(context.by_id(SERVICE, SERVICE_ID))
