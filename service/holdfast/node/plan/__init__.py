"""Deciding what follows for one process. No I/O.

- `plan`: the decision; start here
- `cgroup`, `setting`, `cgroup_versions`: its cgroups, their files, and the names of the other version
- `claims`: which rule sets a file of a group
- `kubelet`: the value that the kubelet gives
- `creation`: the values of a container before a process exists
- `preview`: the plan for all processes, and its effect on the next OOM
"""
