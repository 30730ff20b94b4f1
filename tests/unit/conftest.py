import sys

import pytest
from hypothesis import settings

settings.register_profile("holdfast", deadline=None)  # a machine under load is no failure; a case has pytest's timeout
settings.load_profile("holdfast")


@pytest.fixture(autouse=True)
def no_client_library(monkeypatch):
    """The metrics page shows prometheus_client's counters where it is imported, and a test elsewhere imports it."""
    monkeypatch.delitem(sys.modules, "prometheus_client", raising=False)
