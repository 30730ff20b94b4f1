"""Plugins in other processes, reached over containerd's API.

- `registrations`: one plugin for each entry of ``proxy_plugins``
- `remote`: client of a content store
- `forward`: clients of differs and snapshotters
"""
