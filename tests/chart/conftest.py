"""Both helms, and the newer one where one is enough."""

import pytest

from tests.chart.kit import Helm


@pytest.fixture(params=["helm3", "helm4"])
def each_helm(request):
    return Helm(request.param)


@pytest.fixture
def helm():
    return Helm("helm4")
