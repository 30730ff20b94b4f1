"""Metadata and content of a node. `content.shared` and `content.ingest` describe how content survives a kill.

- `metadata`: the whole store; start here
- `content`: blobs and ingests, on disk and by namespace
- `gc`: garbage collection
- `objects`: namespaces, images, containers and leases
- `database`: the sqlite file, and the thread that changes it
- `labels`, `digest`: labels and digests as text
"""

from holdfast.store.content.blobs import LocalStore
from holdfast.store.content.interface import Backend, ContentStore
from holdfast.store.gc.schedule import Thresholds
from holdfast.store.gc.scheduler import Scheduler
from holdfast.store.metadata import MetadataStore

__all__ = ["Backend", "ContentStore", "LocalStore", "MetadataStore", "Scheduler", "Thresholds"]
