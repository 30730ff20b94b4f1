"""Cases for a host with nothing but cgroup v2 and all capabilities; `tests/integration/test_v2_guest.py` boots one."""

import os
import sys

import pytest
from holdfast.cgroups import Mode, detect

from tests.integration.conftest import group, hierarchy, sleeper  # noqa: F401 (fixtures)

_CAP_SYS_RESOURCE = 24


def _unfit() -> str:
    if os.geteuid() != 0 or detect("/proc", "/sys/fs/cgroup").mode is not Mode.UNIFIED:
        return "needs root on a host with cgroup v2 alone"
    with open("/proc/self/status") as file:
        capabilities = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return "" if capabilities >> _CAP_SYS_RESOURCE & 1 else "needs CAP_SYS_RESOURCE"


def pytest_collection_modifyitems(items):
    unfit = _unfit()
    for item in items:
        if "/tests/v2/" in str(item.path):
            item.add_marker(pytest.mark.v2)
            if unfit:
                item.add_marker(pytest.mark.skip(reason=unfit))
    sys.stdout.flush()
