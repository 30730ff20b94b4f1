"""The OOM killer: its next victim, the kernel log, and the record of kills."""
