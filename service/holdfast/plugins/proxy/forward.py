"""Clients of differs and snapshotters in other processes, over containerd's API: they serve proxies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from holdfast import namespaces
from holdfast.api.services.diff.v1 import diff_pb2 as diff_api
from holdfast.plugins.proxy.remote import their_errors


def headers() -> tuple[tuple[str, str], ...]:
    """Return the caller's namespace as metadata, without its lease, which the peer does not know."""
    namespace = namespaces.current()
    return ((namespaces.GRPC_HEADER, namespace),) if namespace else ()


class RemoteDiffer:
    """A differ (`plugins.containerd.diff.Differ`) behind ``channel``."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        from holdfast.api.services.diff.v1.diff_pb2_grpc import DiffStub

        self._stub: Any = DiffStub(channel)

    async def apply(self, request: diff_api.ApplyRequest, lease: str) -> diff_api.ApplyResponse:
        """Apply the layer in the other process."""
        with their_errors():
            answer: diff_api.ApplyResponse = await self._stub.Apply(request, metadata=headers())
        return answer

    async def compare(self, request: diff_api.DiffRequest, lease: str) -> diff_api.DiffResponse:
        """Compare the trees in the other process."""
        with their_errors():
            answer: diff_api.DiffResponse = await self._stub.Diff(request, metadata=headers())
        return answer


class RemoteSnapshotter:
    """A snapshotter behind ``channel``: every method of the API by its name."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        from holdfast.api.services.snapshots.v1.snapshots_pb2_grpc import SnapshotsStub

        self._stub: Any = SnapshotsStub(channel)

    async def call(self, method: str, request: Any) -> Any:
        """Make one call with one response."""
        with their_errors():
            return await getattr(self._stub, method)(request, metadata=headers())

    async def stream(self, method: str, request: Any) -> AsyncIterator[Any]:
        """Make one call with many responses."""
        with their_errors():
            async for answer in getattr(self._stub, method)(request, metadata=headers()):
                yield answer
