"""The table: what each daemon shows for the same config.toml. `case.Case` says how to read a row.

What holdfast shows is what containerd shows, to the letter, unless `differences.OURS` has the case: then it is
intended, and ``docs/containerd-differences.md`` has a row that names it. `test_side_by_side` sees to both.
"""

from __future__ import annotations

from tests.peers.cases.configuration import CONFIGURATION
from tests.peers.cases.differences import OURS
from tests.peers.cases.itself import SELF
from tests.peers.cases.listeners import COMMAND_LINE, LISTENERS
from tests.peers.cases.plugins import PLUGINS

CASES = (*PLUGINS, *SELF, *CONFIGURATION, *LISTENERS, *COMMAND_LINE)

__all__ = ["CASES", "OURS"]
