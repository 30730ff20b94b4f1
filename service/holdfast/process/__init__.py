"""One process of the node: its certain identity, and the one value that holdfast writes, ``oom_score_adj``.

- `identity`: a process that a reused pid cannot be mistaken for
- `oomscore`: reads and writes the value
- `last_look`: reads a file directly before a write
- `namespace`: enters a namespace of another process
- `heap`: the heap of our own process
"""

from holdfast.process.identity import OpenProcess, ProcRoot, read_boot_id, start_ticks_of

__all__ = ["OpenProcess", "ProcRoot", "read_boot_id", "start_ticks_of"]
