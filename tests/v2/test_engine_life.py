"""Processes whose memory cannot be read, and an engine that fails or hangs, where there is cgroup v2 alone."""

from tests.hostile.test_engine_life import *  # noqa: F403
