"""Reading the kernel: processes, process events, the machine, pressure, and what this process may do.

- `reader`, `parse`: a process, and the text of its files
- `children`: the children of a process
- `evidence`: which keys are facts for a process
- `mount`: the mounts of pid 1's namespace, and of a process's own
- `connector`: process events
- `host`: the machine
- `pressure`: pressure stall information
- `privileges`: what this process may do
- `deadline`: reads that may never return
"""
