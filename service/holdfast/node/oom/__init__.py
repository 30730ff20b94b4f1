"""The OOM killer: its next victim, the kernel log, and the record of kills.

- `victim`: the next victim, by the kernel's arithmetic
- `watch`, `kmsg`: finds kills, by counters and in the kernel log
- `store`: the record of kills
"""
