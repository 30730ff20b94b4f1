"""What pod is this process in: from its cgroup's name alone, and from what a container runtime tells."""
