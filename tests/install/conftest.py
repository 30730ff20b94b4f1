"""A fresh machine and a fresh clone."""

import pytest

from tests.install.machine import Machine, checkout, places


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return checkout(tmp_path_factory.mktemp("clone") / "holdfast")


@pytest.fixture
def machine(tmp_path, start):
    with places():
        yield Machine(tmp_path / "machine", start)
