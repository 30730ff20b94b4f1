"""Plugins under containerd's kinds: what a client of containerd calls, and the stores and the differ behind it.

- `containers`, `content`, `diff`, `events`, `images`, `leases`, `namespaces`, `snapshots`: containerd's services
- `health`, `introspection`, `reflection`, `version`: services about the daemon itself
- `metadata`: the content store and the metadata store
- `differ`: the walking differ
- `gc`: garbage collection
"""
