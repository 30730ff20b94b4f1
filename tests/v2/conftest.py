"""Cases for a host with nothing but cgroup v2 and all capabilities; `tests/guest.py` says where they run."""

import pytest

from tests.integration.conftest import (  # noqa: F401 (fixtures)
    disk,
    eater,
    group,
    hierarchy,
    memory,
    program,
    run,
    sleeper,
)
from tests.peers.nri.node import node, parent  # noqa: F401


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items):
    for item in items:
        if "/tests/v2/" in str(item.path):
            item.add_marker(pytest.mark.v2)
            item.add_marker(pytest.mark.root)
