from __future__ import annotations

import pytest
from holdfast.node.plan.kubelet import adjustment, explained, requests_for
from hypothesis import given
from hypothesis import strategies as st

GIB = 1 << 30
NODE = 64 * GIB


@pytest.mark.parametrize(
    ("qos", "request_", "expected"),
    [
        ("guaranteed", 8 * GIB, -997),
        ("besteffort", 0, 1000),
        ("burstable", GIB, 985),  # 15.6 is cut to 15
        ("burstable", 0, 999),  # 1000 is BestEffort's
        ("burstable", 64 * GIB, 3),  # 0 would be the daemons'
    ],
)
def test_the_formula_gives_what_the_kubelet_gives(qos, request_, expected):
    assert adjustment(qos, request_, NODE) == expected


@given(st.integers(0, NODE), st.integers(GIB, 1 << 45))
def test_a_request_is_within_what_its_value_says(request_, capacity):
    request_ = min(request_, capacity)
    least, most = requests_for(adjustment("burstable", request_, capacity), capacity)
    assert least <= request_ <= most


@pytest.mark.parametrize(
    ("qos", "value", "expected"),
    [
        ("guaranteed", -997, "-997: its pod is Guaranteed"),
        ("besteffort", 1000, "1000: its pod is BestEffort"),
        ("burstable", -997, "-997: its pod is critical for the node"),
        (
            "burstable",
            985,
            "985 = 1000 - 1000 x memory request / 64.00 GiB of the node: its pod is Burstable and the container "
            "requests 983.0 MiB to 1.02 GiB",
        ),
        (
            "burstable",
            999,
            "999 = 1000 - 1000 x memory request / 64.00 GiB of the node, not above 999: its pod is Burstable and the "
            "container requests less than 131.1 MiB",
        ),
        (
            "burstable",
            3,
            "3 = 1000 - 1000 x memory request / 64.00 GiB of the node, not below 3: its pod is Burstable and the "
            "container requests at least 63.81 GiB",
        ),
        ("", 500, "500, which is not what the kubelet's formula gives without a QoS class"),
    ],
)
def test_a_value_says_why_the_kubelet_gave_it(qos, value, expected):
    assert explained(qos, value, NODE) == expected
