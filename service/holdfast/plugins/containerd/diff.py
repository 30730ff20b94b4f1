"""containerd's diff service: the first differ of its list that supports a request handles it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Any, Protocol, TypeVar

from msgspec import Meta, Struct

from holdfast.api.services.diff.v1 import diff_pb2 as api
from holdfast.api.services.diff.v1 import diff_pb2_grpc as api_grpc
from holdfast.errors import FailedPrecondition, NotFound, Unimplemented
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import DIFFER, GRPC, SERVICE
from holdfast.plugins.message import lease

T = TypeVar("T")


class Differ(Protocol):
    """Interface of a plugin of kind ``io.containerd.differ.v1``; the namespace is the call's."""

    async def apply(self, request: api.ApplyRequest, lease: str) -> api.ApplyResponse:
        """Unpack a layer onto mounts; raises `Unimplemented` to let the next differ try."""

    async def compare(self, request: api.DiffRequest, lease: str) -> api.DiffResponse:
        """Write the difference of two trees as a blob; raises `Unimplemented` to let the next differ try."""


class DiffConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """containerd's ``[plugins."io.containerd.service.v1.diff-service"]``."""

    default: Annotated[
        tuple[str, ...], Meta(description="differs by id, built-in or proxied, in the order they are tried")
    ] = ("walking",)
    sync_fs: Annotated[bool, Meta(description="sync the file system after every layer, even if not requested")] = False


class DiffService:
    """Tries ``differs`` in their order."""

    def __init__(self, differs: Sequence[Differ], *, sync_fs: bool = False) -> None:
        self._differs = differs
        self._sync_fs = sync_fs

    async def apply(self, request: api.ApplyRequest, lease_id: str) -> api.ApplyResponse:
        """See `Differ.apply`."""
        request.sync_fs = request.sync_fs or self._sync_fs
        return await self._first(lambda differ: differ.apply(request, lease_id))

    async def compare(self, request: api.DiffRequest, lease_id: str) -> api.DiffResponse:
        """See `Differ.compare`."""
        return await self._first(lambda differ: differ.compare(request, lease_id))

    async def _first(self, ask: Callable[[Differ], Awaitable[T]]) -> T:
        refused = Unimplemented("no differ is configured")
        for differ in self._differs:
            try:
                return await ask(differ)
            except Unimplemented as error:
                refused = error
        raise refused


class DiffServicer(api_grpc.DiffServicer):
    """``containerd.services.diff.v1.Diff``."""

    def __init__(self, service: DiffService) -> None:
        self._service = service

    def register_grpc(self, registrar: Any) -> None:
        """Register this service."""
        api_grpc.add_DiffServicer_to_server(self, registrar)

    register_tcp = register_grpc

    async def Apply(self, request: api.ApplyRequest, call: Any) -> api.ApplyResponse:  # noqa: N802, D102
        return await self._service.apply(request, lease(call))

    async def Diff(self, request: api.DiffRequest, call: Any) -> api.DiffResponse:  # noqa: N802, D102
        return await self._service.compare(request, lease(call))


@plugin(SERVICE, "diff-service", requires=(DIFFER,), config=DiffConfig)
async def diff_service(context: InitContext) -> AsyncIterator[DiffService]:
    """The service other plugins use."""
    loaded = context.all(DIFFER)
    differs = []
    for name in context.config.default:
        if name not in loaded:
            raise NotFound(f"needed differ not loaded: {name}")
        if not callable(getattr(loaded[name], "compare", None)) or not callable(getattr(loaded[name], "apply", None)):
            raise FailedPrecondition(f"differ does not implement Comparer and Applier interface: {name}")
        differs.append(loaded[name])
    yield DiffService(differs, sync_fs=context.config.sync_fs)


@plugin(GRPC, "diff", requires=(SERVICE,), services=("containerd.services.diff.v1.Diff",))
async def diff(context: InitContext) -> AsyncIterator[DiffServicer]:
    """The service clients use."""
    yield DiffServicer(context.by_id(SERVICE, "diff-service"))
