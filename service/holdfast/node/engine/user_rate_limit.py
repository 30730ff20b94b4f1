"""Limits the events of a crowd: processes of one user in one group that make more events than are worth examining.

`rate_limit` limits a process that makes events in a loop. Starting a new process for each event has the same effect. A
user cannot leave the group that root gave it: a group below a delegated one counts as the group above it. A process
that may change its user (root in a container, an owner of subordinate ids) cannot be a new crowd each time: in a group,
root and `MOST_USERS` users are counted apart, and all others together.

Of a crowd's events, `MOST_EVENTS` a second are served. A rescan covers the rest within a second or a few.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from holdfast import log
from holdfast.cgroups import Hierarchy
from holdfast.errors import HoldfastError
from holdfast.node.proc.reader import ProcReader
from holdfast.process import OpenProcess

LOG = log.named(__name__)
WINDOW_S = 1.0
FREE_EVENTS = 100  # of all together in a window, before the user and group are read: that costs 30 µs
MOST_EVENTS = 300  # of one crowd in a window: examining a process takes 100 to 300 µs
MOST_USERS = 4  # of one group in a window
MOST_CACHED = 1024

OTHERS = -1  # in place of a user
#: The user, and the innermost group on the way to its own that root alone may make groups in.
Crowd = tuple[int, str]


class UserRateLimit:
    """``skipped`` counts the events that were not served, ``slowed`` how often a crowd was reported as too much."""

    def __init__(self, reader: ProcReader, hierarchy: Hierarchy) -> None:
        self._reader, self._hierarchy = reader, hierarchy
        self.skipped = self.slowed = 0
        self._told: set[Crowd] = set()  # since the last periodic rescan
        self._counts: dict[Crowd, int] = {}
        self._users: dict[str, set[int]] = {}  # by group
        self._window_ends, self._events = 0.0, 0
        self._groups: dict[bytes, str] = {}

    def allows(self, process: OpenProcess, now: float) -> bool:
        """Whether a process is to be examined for an event that would be worth it; ``now`` monotonic.

        Raises:
            ProcessGone: the process ended.
        """
        if now >= self._window_ends:
            self._counts.clear()
            self._users.clear()
            self._window_ends, self._events = now + WINDOW_S, 0
        self._events += 1
        if self._events <= FREE_EVENTS:
            return True
        crowd = self._crowd_of(process)
        count = self._counts[crowd] = self._counts.get(crowd, 0) + 1
        if count <= MOST_EVENTS:
            return True
        if crowd not in self._told:
            self._told.add(crowd)
            self.slowed += 1
            LOG.warning(
                "processes make too many events; some of this user and group are examined by rescans only",
                uid=crowd[0] if crowd[0] != OTHERS else "others",
                cgroup=crowd[1],
                pid=process.pid,
                in_s=WINDOW_S,
            )
        self.skipped += 1
        return False

    def begin_anew(self) -> None:
        """Start again after a rescan: a crowd that still makes too many events is reported again."""
        self._told.clear()
        self._groups.clear()

    def _crowd_of(self, process: OpenProcess) -> Crowd:
        user, group = self._reader.real_uid_of(process), self._group_of(process)
        if not user:
            return user, group
        users = self._users.setdefault(group, set())
        if user not in users and len(users) >= MOST_USERS:
            return OTHERS, group
        users.add(user)
        return user, group

    def _group_of(self, process: OpenProcess) -> str:
        text = self._reader.group_text_of(process)
        group = self._groups.get(text)
        if group is None:
            if len(self._groups) >= MOST_CACHED:
                self._groups.clear()
            group = self._groups[text] = self._of_root(self._reader.place_of(text)[0])
        return group

    def _of_root(self, paths: Mapping[str, str]) -> str:
        """Return the deepest of the groups, over all hierarchies, up to which every directory belongs to root."""
        return max((self._cut(name, path) for name, path in paths.items()), key=len, default="/")

    def _cut(self, name: str, path: str) -> str:
        tree, whole = self._hierarchy.trees.get(name), ""
        if tree is None:
            return "/"
        for part in filter(None, path.split("/")):
            try:
                if os.stat(tree.at(f"{whole}/{part}")).st_uid:
                    break
            except (OSError, HoldfastError):
                break
            whole = f"{whole}/{part}"
        return whole or "/"
