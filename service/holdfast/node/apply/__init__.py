"""Writing: one process's value, cgroup moves, settings, and restoring them."""
