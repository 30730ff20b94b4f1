"""Metadata and content of a node: start at `metadata`; `shared` and `ingest` describe how content survives a kill."""

from holdfast.store.blobs import LocalStore
from holdfast.store.content import Backend, ContentStore
from holdfast.store.metadata import MetadataStore
from holdfast.store.schedule import Thresholds
from holdfast.store.scheduler import Scheduler

__all__ = ["Backend", "ContentStore", "LocalStore", "MetadataStore", "Scheduler", "Thresholds"]
