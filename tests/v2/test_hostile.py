"""The names and command lines of an ordinary user where there is cgroup v2 alone, with a group delegated to it."""

from tests.hostile.test_matching import *  # noqa: F403
from tests.hostile.test_names import *  # noqa: F403
