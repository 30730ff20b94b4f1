"""One process of the node: its certain identity, and the one value that holdfast writes, ``oom_score_adj``."""

from holdfast.process.identity import OpenProcess, ProcRoot, read_boot_id, start_ticks_of

__all__ = ["OpenProcess", "ProcRoot", "read_boot_id", "start_ticks_of"]
