"""Content on this node's disk, and the metadata over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import CONTENT, METADATA
from holdfast.store import Backend, LocalStore, MetadataStore


class MetadataConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """containerd's key, under containerd's name for the plugin."""

    content_sharing_policy: Annotated[
        Literal["shared", "isolated"],
        Meta(description="whether a namespace may take up a blob of another one by its digest alone"),
    ] = "shared"


@plugin(CONTENT, "content")
async def content(context: InitContext) -> AsyncIterator[Backend]:
    """Store blobs and ingests as files, each blob once."""
    store = LocalStore(context.root_dir)
    await store.open()
    context.exports["root"] = str(context.root_dir)
    yield store
    await store.close()


@plugin(METADATA, "bolt", requires=(CONTENT,), config=MetadataConfig)
async def metadata(context: InitContext) -> AsyncIterator[MetadataStore]:
    """Metadata: which namespace sees which blobs of the content store, ours or a proxied one; sqlite, not bolt."""
    policy = context.config.content_sharing_policy
    path = context.root_dir / "meta.sqlite"
    store = MetadataStore(path, context.single(CONTENT), shared=policy == "shared")
    await store.open()
    context.exports.update(path=str(path), policy=policy)
    yield store
    await store.close()
