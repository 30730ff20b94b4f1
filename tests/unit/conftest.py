import sys

import pytest
from hypothesis import HealthCheck, settings

# A machine under load is no failure: neither a slow example nor a slow choice of one. A case has pytest's timeout.
settings.register_profile("holdfast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("holdfast")


@pytest.fixture(autouse=True)
def no_client_library(monkeypatch):
    """The metrics page shows prometheus_client's counters where it is imported, and a test elsewhere imports it."""
    monkeypatch.delitem(sys.modules, "prometheus_client", raising=False)
