"""Garbage collection: what is garbage, and when it is removed.

- `reachability`: finds what is still needed, without I/O
- `collection`: one collection of the metadata
- `schedule`: when to collect, without I/O
- `scheduler`: the loop that collects
"""
