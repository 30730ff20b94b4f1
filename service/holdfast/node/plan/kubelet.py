"""The kubelet's own oom_score_adj: the formula, and what a value shows about its pod.

Source: kubernetes pkg/kubelet/qos/policy.go. For a container of a Burstable pod, with ``request`` its memory request
and ``capacity`` the node's memory in bytes: ``1000 - 1000 * request / capacity``, divided as integers, then at least 3
and at most 999. Guaranteed -997, BestEffort 1000. A sidecar (an init container that is restarted) has at most the value
of the regular container with the smallest request. CRI does not give requests, so that cannot be seen here.
"""

from __future__ import annotations

GUARANTEED, GUARANTEED_ONCE, BEST_EFFORT, PAUSE = -997, -998, 1000, -998
LEAST, MOST = 3, 999
_MIB, _GIB = 1 << 20, 1 << 30


def adjustment(qos: str, request: int = 0, capacity: int = 1) -> int:
    """Return the kubelet's value for a container: its pod's QoS, its memory request and the node's memory in bytes."""
    if qos == "guaranteed":
        return GUARANTEED
    if qos == "besteffort":
        return BEST_EFFORT
    return min(max(1000 - 1000 * request // capacity, LEAST), MOST)


def requests_for(value: int, capacity: int) -> tuple[int, int]:
    """Return the smallest and the largest memory request in bytes of a Burstable container with this value."""
    if value <= LEAST:
        return -(-(1000 - LEAST) * capacity // 1000), capacity
    least = 0 if value >= MOST else -(-(1000 - value) * capacity // 1000)
    return least, -(-(1000 - value + 1) * capacity // 1000) - 1


def explained(qos: str, value: int, capacity: int) -> str:
    """Return one line on why a container has the value that the kubelet gave it."""
    if qos == "guaranteed" and value in (GUARANTEED, GUARANTEED_ONCE):
        return f"{value}: its pod is Guaranteed"
    if qos == "besteffort" and value == BEST_EFFORT:
        return f"{value}: its pod is BestEffort"
    if qos == "burstable" and value == GUARANTEED:
        return f"{value}: its pod is critical for the node"
    if qos == "burstable" and LEAST <= value <= MOST:
        least, most = requests_for(value, capacity)
        asked = f"at least {size(least)}" if value == LEAST else f"{size(least)} to {size(most)}"
        if not least:
            asked = f"less than {size(most + 1)}"
        bound = {LEAST: ", not below 3", MOST: ", not above 999"}.get(value, "")
        return (
            f"{value} = 1000 - 1000 x memory request / {size(capacity)} of the node{bound}: "
            f"its pod is Burstable and the container requests {asked}"
        )
    return f"{value}, which is not what the kubelet's formula gives {qos or 'without a QoS class'}"


def size(number: int) -> str:
    """Return bytes as ``1.00 GiB`` or ``64.0 MiB``."""
    return f"{number / _GIB:.2f} GiB" if number >= _GIB else f"{number / _MIB:.1f} MiB"
