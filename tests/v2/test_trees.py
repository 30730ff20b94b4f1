"""Trees of processes with values below 0, where there is cgroup v2 alone: all of the cases."""

from tests.integration.test_trees import *  # noqa: F403
