"""Writing: one process's value, cgroup moves, settings, and restoring them.

- `action`: an action and its result, as values
- `executor`: the only writer
- `group_writer`, `file_text`: writes files of groups, and makes and removes groups; the parts of a file that are ours
- `mover`, `current_groups`: moves that may wait, and the groups of a process when it moves
- `refusal`: the refusal for a write that failed
- `metrics`: the metrics of the node work
"""
