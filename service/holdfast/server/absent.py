"""Advice in the answer to a call, for services of containerd that holdfast does not have."""

from __future__ import annotations

NO_TRANSFER = "holdfast has no transfer service; with --local ctr image pull, import, export and tag work without it"
NO_CONTAINERS = "holdfast runs no containers"

#: By the beginning of the service's name.
_REASONS = {
    "containerd.services.transfer.": NO_TRANSFER,
    "containerd.services.streaming.": NO_TRANSFER,
    "containerd.services.tasks.": NO_CONTAINERS,
    "containerd.services.sandbox.": NO_CONTAINERS,
    "containerd.runtime.": NO_CONTAINERS,
    "runtime.v1.": NO_CONTAINERS,
}


def why_absent(service: str) -> str | None:
    """Return why holdfast does not have ``service``; None for a service that it does not know."""
    return next((words for prefix, words in _REASONS.items() if service.startswith(prefix)), None)
