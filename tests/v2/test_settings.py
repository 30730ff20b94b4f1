"""The same attacks where there is cgroup v2 alone and every capability."""

from tests.hostile.test_settings import *  # noqa: F403
