"""Cache of processes that no rule can match: most of a node, recognised by reading a file or two.

It keeps names that no rule mentions, and names together with groups (the text of ``/proc/PID/cgroup``) where the rules
ask about groups. It keeps nothing that a later read could contradict, except for pods: a group whose pod was not known
yet. The code that learns of a pod calls `forget_groups`.
"""

from __future__ import annotations

from typing import TypeVar

from holdfast.node.proc.parse import printed
from holdfast.node.proc.reader import LONGEST_CACHED, IgnoredNames, ProcReader
from holdfast.node.rule.ruleset import Rules
from holdfast.process import OpenProcess

T = TypeVar("T")
_CACHED_NAMES = 2048  # the kernel's workers change theirs all day


class MatchCache:
    """``seen`` is the set that a rescan reads by itself."""

    def __init__(self, reader: ProcReader) -> None:
        self.seen = IgnoredNames(set(), set())
        self._reader = reader
        self._rules = Rules()
        self._in_no_pod: set[tuple[bytes, bytes]] = set()

    def set_rules(self, rules: Rules) -> None:
        """Start again: other rules match other processes."""
        self._rules = rules
        self.seen = IgnoredNames(set(), set(), rules.asks_groups)
        self._in_no_pod.clear()

    def forget_groups(self) -> None:
        """Forget groups: their pod may be known by now, or another one."""
        self.seen.in_groups.clear()
        self.seen.in_groups.update(self._in_no_pod)

    def could_match(self, comm: str) -> bool:
        """Whether a rule could match a process of this name; a name that no rule can match is remembered."""
        if self._rules.could_match(comm):
            return True
        _remember(self.seen.names, printed(comm))
        return False

    def note(self, comm: str, groups: bytes, *, in_no_pod: bool = False) -> None:
        """Remember that no rule matched a process of this name in these groups, if name and groups alone decide that.

        ``in_no_pod``: these groups will never belong to a pod.
        """
        if not self.seen.asks_groups or len(groups) > LONGEST_CACHED:
            return
        paths, pod = self._reader.place_of(groups)
        if not self._rules.could_match_in(comm, set(paths.values()), in_pod=pod is not None):
            _remember(self.seen.in_groups, (printed(comm), groups))
            if in_no_pod:
                _remember(self._in_no_pod, (printed(comm), groups))

    def has(self, name: bytes, process: OpenProcess) -> bool:
        """Whether the cache has the name (as `printed`), or the name with the process's groups.

        Raises:
            ProcessGone: the process ended.
        """
        seen = self.seen
        if name in seen.names:
            return True
        return seen.asks_groups and (name, self._reader.group_text_of(process)) in seen.in_groups


def _remember(seen: set[T], entry: T) -> None:
    if len(seen) >= _CACHED_NAMES:
        seen.clear()
    seen.add(entry)
