"""One process of the node: who it is for certain, and the one value of it we write, ``oom_score_adj``."""

from holdfast.process.identity import Identity, OpenProcess, ProcRoot, read_boot_id, start_ticks_of

__all__ = ["Identity", "OpenProcess", "ProcRoot", "read_boot_id", "start_ticks_of"]
