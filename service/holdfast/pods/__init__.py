"""The pod of a process: from its cgroup's name alone, and from the reports of a container runtime.

- `directory`: the pod of a cgroup; start here
- `cgroup_path`: what the name of a cgroup says
- `record`: a report of a pod and of a container
- `runtime`: the runtime's socket
- `cri`, `cri_message`: reports over CRI
- `nri`: events of NRI, and which containers may be given values
- `created`: the values that containers were created with
- `metrics`: metrics of the directory
"""
