"""The pod of a process: from its cgroup's name alone, and from the reports of a container runtime."""
