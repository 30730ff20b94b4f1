"""The table: what each daemon shows for the same config.toml. `case.Case` says how to read a row.

containerd 2.3 shows what 1.6 shows, to the letter, unless `newer.IN_23` has the case; holdfast shows what 1.6 shows,
unless `differences.OURS` has it. A case in which holdfast differs from either of the two is intended, and
``docs/containerd-differences.md`` has a row that names it. `test_side_by_side` sees to all of that.
"""

from __future__ import annotations

from tests.peers.cases.configuration import CONFIGURATION
from tests.peers.cases.differences import OURS
from tests.peers.cases.itself import SELF
from tests.peers.cases.listeners import COMMAND_LINE, LISTENERS
from tests.peers.cases.newer import IN_23, as_newer
from tests.peers.cases.plugins import PLUGINS

CASES = (*PLUGINS, *SELF, *CONFIGURATION, *LISTENERS, *COMMAND_LINE)

#: The outcome of containerd 2.3 in each case.
NEWER = {case.name: IN_23.get(case.name, as_newer(case.theirs)) for case in CASES}
#: The outcome of holdfast in each case.
MINE = {case.name: OURS.get(case.name, case.theirs) for case in CASES}

__all__ = ["CASES", "IN_23", "MINE", "NEWER", "OURS", "as_newer"]
