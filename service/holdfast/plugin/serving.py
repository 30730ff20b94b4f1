"""Serving state of the daemon and its services, for health.

Each name is a service, or ``""`` for the whole daemon. Watchers are called on the loop's thread, at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

Watcher = Callable[[str, bool], None]


class ServingBoard:
    """Names and whether they serve. With a fault, and while draining, a name does not serve, whatever was
    set before.
    """

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {}
        self._faults: dict[str, set[Hashable]] = defaultdict(set)
        self._watchers: list[Watcher] = []
        self.draining = False

    def set(self, name: str, serving: bool) -> None:
        """Set whether ``name`` serves (a plugin that lost something it needs reports it here)."""
        self._serving[name] = serving
        self._tell(name)

    def fault(self, name: str, cause: Hashable, *, present: bool) -> None:
        """Set or clear the fault ``cause`` of ``name``, which does not serve while it has one."""
        (self._faults[name].add if present else self._faults[name].discard)(cause)
        if name in self._serving:
            self._tell(name)

    def serves(self, name: str) -> bool | None:
        """Whether ``name`` serves now; None for a name that was never set."""
        serving = self._serving.get(name)
        return None if serving is None else serving and not self.draining and not self._faults.get(name)

    def names(self) -> Iterable[str]:
        """Every name that was set."""
        return tuple(self._serving)

    def watch(self, watcher: Watcher) -> None:
        """Call ``watcher`` now with every name, and later with every change."""
        self._watchers.append(watcher)
        for name in self.names():
            watcher(name, bool(self.serves(name)))

    def drain(self) -> None:
        """Report every name as not serving from now on."""
        self.draining = True
        for name in self.names():
            self._tell(name)

    def _tell(self, name: str) -> None:
        for watcher in self._watchers:
            watcher(name, bool(self.serves(name)))
