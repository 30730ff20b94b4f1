"""Pods whose author writes what he likes, where there is cgroup v2 alone."""

from tests.hostile.test_pods import *  # noqa: F403
