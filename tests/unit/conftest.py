import sys

import pytest


@pytest.fixture(autouse=True)
def no_client_library(monkeypatch):
    """The metrics page shows prometheus_client's counters where it is imported, and a test elsewhere imports it."""
    monkeypatch.delitem(sys.modules, "prometheus_client", raising=False)
