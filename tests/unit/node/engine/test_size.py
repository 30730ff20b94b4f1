"""The engine's memory for a process."""

from __future__ import annotations

import tracemalloc

from holdfast.node.apply.action import How, Write, Wrote
from holdfast.node.engine.entry import Now
from holdfast.node.engine.reconciler import Reconciler
from holdfast.node.journal.table import Table
from holdfast.node.model.placement import State

from tests.fakes.kernel import Kernel, host_of
from tests.fakes.placement import process, rules

PROCESSES = 2000
#: 5.5 MiB for 10,000, of the 6 that docs/performance.md allows; the rest is for memory that a rescan used and freed.
MOST_BYTES = 5.5 * 2**20 / 10_000


def test_a_process_under_a_rule_takes_less_than_576_bytes_of_objects():
    """Each process comes at a time of its own, so that no two share a number."""
    table = Table()
    reconciler = Reconciler(table, host_of(Kernel()))
    reconciler.set_rules(rules({"name": "value", "match": {"comm": "a"}, "oom_score_adj": 500}))
    tracemalloc.start()
    try:
        for number in range(PROCESSES):
            now = Now(1_700_000_000_000_000_000 + number, 1_000_000 + number)
            for action in reconciler.observe(process(1000 + number, "a"), now):
                if isinstance(action, Write):
                    table.put(action.row)
                    reconciler.settle(Wrote(action, How.DONE), now)
        live = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert [placement.state for placement in reconciler.placements()] == [State.HELD] * PROCESSES
    assert live / PROCESSES <= MOST_BYTES
