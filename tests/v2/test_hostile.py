"""The names and command lines of an ordinary user where there is cgroup v2 alone, in a unit systemd delegated to it."""

import pytest

from tests.hostile.test_matching import *  # noqa: F403
from tests.hostile.test_names import *  # noqa: F403


@pytest.fixture
def group(delegated_unit):
    return delegated_unit
