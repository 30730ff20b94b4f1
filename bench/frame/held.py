"""The daemon's own account of how soon it holds: from the kernel's exec event to the value, out of its histogram.

A probe's clock starts before execve(2), which itself takes a good part of a millisecond before there is anybody to be
held; the event's time stamp is the kernel's, of the moment the new program is in place.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from itertools import pairwise

NAME = "holdfast_placement_exec_to_held_seconds_bucket"
Buckets = list[tuple[float, int]]


def buckets(metrics: str) -> Buckets:
    """Upper bound in seconds and cumulative count, of values of ``oom_score_adj`` so far; ``metrics`` is the URL."""
    with urllib.request.urlopen(metrics) as answer:
        lines = answer.read().decode().splitlines()
    wanted = [line for line in lines if line.startswith(f'{NAME}{{field="oom_score_adj"')]
    return [(float(line.split('le="')[1].split('"')[0]), int(float(line.split()[-1]))) for line in wanted]


def median_us(before: Buckets, after: Buckets) -> float:
    """The median of what came between, in microseconds, as Prometheus's ``histogram_quantile`` tells it."""
    counts = [(bound, late - early) for (bound, late), (_, early) in zip(after, before, strict=True)]
    return _quantile(counts, 0.5) * 1e6


def _quantile(counts: Sequence[tuple[float, int]], part: float) -> float:
    wanted = part * counts[-1][1]
    for (low, below), (high, upto) in pairwise([(0.0, 0), *counts]):
        if upto >= wanted and upto > below:
            return low + (high - low) * (wanted - below) / (upto - below)
    raise ValueError("nothing was held")
