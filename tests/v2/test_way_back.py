"""Undone means as if we had never been there, where there is cgroup v2 alone: all of the cases."""

from tests.integration.test_way_back import *  # noqa: F403
