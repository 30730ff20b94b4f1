"""The same attacks where there is cgroup v2 alone and every capability, in a unit that systemd delegated."""

import pytest

from tests.hostile.test_settings import *  # noqa: F403


@pytest.fixture
def group(delegated_unit):
    return delegated_unit
