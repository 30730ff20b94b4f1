"""Content: blobs by digest, and the ingests in which they are written.

- `interface`: what every content store offers
- `blobs`, `ingest`: the store on disk, and one ingest on disk with its commit
- `disk_thread`, `ref_lock`: its threads, and the one writer of a ref
- `shared`, `shared_writer`: the stores of the namespaces above it
- `reader_cache`, `rwlock`: readers that stay open between calls; a lock for changes, or for one collection
"""

from holdfast.store.content.interface import (
    FRAME,
    Backend,
    ContentStore,
    Info,
    IngestStatus,
    Reader,
    Swept,
    Writer,
)

__all__ = ["FRAME", "Backend", "ContentStore", "Info", "IngestStatus", "Reader", "Swept", "Writer"]
