"""Reads of command lines wait for their answer, however long the thread that makes them waits for a processor."""

import pytest
from holdfast.node.proc import deadline

from tests.running import PATIENCE_S

LEAST_S = deadline.LEAST_S


@pytest.fixture(autouse=True)
def patient_reads(monkeypatch):
    """Make `DeadlineReads` wait up to `PATIENCE_S` for each answer."""
    monkeypatch.setattr(deadline, "LEAST_S", PATIENCE_S)
