"""The walking differ: containerd's plugin of that name over `holdfast.diff`, which is imported by its first call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, runtime_checkable

from msgspec import Meta, Struct

from holdfast.api.services.diff.v1 import diff_pb2 as api
from holdfast.api.types.descriptor_pb2 import Descriptor
from holdfast.api.types.mount_pb2 import Mount as MountMessage
from holdfast.config import Bytes
from holdfast.errors import Unimplemented
from holdfast.namespaces import required
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import CONTENT, DIFFER, METADATA
from holdfast.plugins.message import nanoseconds
from holdfast.store import ContentStore, MetadataStore

if TYPE_CHECKING:
    from holdfast.diff import Layer, LayerLimits, Mount, WalkingDiffer
    from holdfast.store import Backend


class WalkingConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits on what a layer may contain; containerd sets no such limits."""

    max_unpacked: Annotated[
        Bytes, Meta(ge=0, description="bytes a layer may unpack to, against decompression bombs; 0: as many as fit")
    ] = 128 << 30
    device_nodes: Annotated[
        Literal["refuse", "skip", "create"],
        Meta(description="treatment of a device node in a layer; containerd creates it"),
    ] = "refuse"


@runtime_checkable
class Leasing(Protocol):
    """A content store with leases of its own, as a store in another process is."""

    def under(self, lease: str) -> ContentStore:
        """Return the store with ``lease``, which holds everything written through it."""


class Walking:
    """The differ; ``store`` is the metadata store, or the whole content store if metadata is disabled."""

    def __init__(self, store: MetadataStore | Backend, place: Path, config: WalkingConfig) -> None:
        self._store = store
        self._place = place
        self._config = config
        self._differ: WalkingDiffer | None = None

    async def apply(self, request: api.ApplyRequest, lease: str) -> api.ApplyResponse:
        """`Differ.apply`."""
        from holdfast.diff import Layer

        if request.payloads:
            raise Unimplemented(f"stream processor payloads: {', '.join(sorted(request.payloads))}")
        layer = Layer(request.diff.media_type, request.diff.digest, request.diff.size)
        durable, mounts = request.sync_fs, _mounts(request.mounts)
        applied = await self.differ.apply(self._content(lease), layer, mounts, durable=durable)
        return api.ApplyResponse(applied=_message(applied))

    async def compare(self, request: api.DiffRequest, lease: str) -> api.DiffResponse:
        """`Differ.compare`."""
        from holdfast.diff import Wanted

        epoch_ns = nanoseconds(request.source_date_epoch) if request.HasField("source_date_epoch") else None
        wanted = Wanted(request.media_type, request.ref, dict(request.labels), epoch_ns)
        left, right = _mounts(request.left), _mounts(request.right)
        return api.DiffResponse(diff=_message(await self.differ.compare(self._content(lease), left, right, wanted)))

    def configure(self, config: WalkingConfig) -> None:
        """Apply new limits; layers under way keep theirs."""
        self._config = config

    async def close(self) -> None:
        """Wait for the layers under way."""
        if self._differ is not None:
            await self._differ.close()

    @property
    def differ(self) -> WalkingDiffer:
        """The engine, created on first use."""
        if self._differ is None:
            from holdfast.diff import WalkingDiffer

            self._place.mkdir(mode=0o700, exist_ok=True)
            self._differ = WalkingDiffer(self._place, self._limits)
        return self._differ

    def _limits(self) -> LayerLimits:
        from holdfast.diff import Devices, LayerLimits

        return LayerLimits(self._config.max_unpacked, Devices(self._config.device_nodes))

    def _content(self, lease: str) -> ContentStore:
        if isinstance(self._store, MetadataStore):
            return self._store.content.within(required(), lease)
        return self._store.under(lease) if isinstance(self._store, Leasing) else self._store


def _mounts(messages: Iterable[MountMessage]) -> list[Mount]:
    from holdfast.diff import Mount

    found = []
    for message in messages:
        if message.target:
            raise Unimplemented(f"a mount below the root, at {message.target}")
        found.append(Mount(message.type, message.source, tuple(message.options)))
    return found


def _message(layer: Layer) -> Descriptor:
    return Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size)


@plugin(DIFFER, "walking", requires=(METADATA, CONTENT), config=WalkingConfig)
async def walking(context: InitContext) -> AsyncIterator[Any]:
    """Layers of the caller's namespace; with the metadata plugin disabled, layers of the content store itself."""
    metadata = any(state.registration.kind == METADATA for state in context.plugins)
    store = context.single(METADATA) if metadata else context.single(CONTENT)
    differ = Walking(store, context.state_dir / "mount", context.config)
    context.on_reload(differ.configure)
    yield differ
    await differ.close()
