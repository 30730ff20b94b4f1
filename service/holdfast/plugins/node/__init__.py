"""Plugins for the node work.

- `placement`: the engine that enforces the rules
- `nri`: values before a container's first instruction
- `pods`: the directory of pods
- `cgroups`: the cgroup hierarchies
- `bundle`: rules and files by digest
"""
