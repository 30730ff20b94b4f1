"""Who is fit to serve: one truth that health, ``sd_notify`` and the drain read.

Each name is a service, or ``""`` for the whole daemon. Watchers are called on the loop's thread, at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

Watcher = Callable[[str, bool], None]


class ServingBoard:
    """Names and whether they serve; with a fault, and while draining, a name does not, whatever was said before."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {}
        self._faults: dict[str, set[Hashable]] = defaultdict(set)
        self._watchers: list[Watcher] = []
        self.draining = False

    def set(self, name: str, serving: bool) -> None:
        """Say that ``name`` serves, or does not (a plugin that lost what it needs tells the truth here)."""
        self._serving[name] = serving
        self._tell(name)

    def fault(self, name: str, cause: Hashable, *, present: bool) -> None:
        """Say that ``name`` cannot be relied on because of ``cause``, or no longer because of that."""
        (self._faults[name].add if present else self._faults[name].discard)(cause)
        if name in self._serving:
            self._tell(name)

    def serves(self, name: str) -> bool | None:
        """Whether ``name`` serves now; None for a name nobody spoke of."""
        serving = self._serving.get(name)
        return None if serving is None else serving and not self.draining and not self._faults.get(name)

    def names(self) -> Iterable[str]:
        """Every name spoken of."""
        return tuple(self._serving)

    def watch(self, watcher: Watcher) -> None:
        """Call ``watcher`` with every name there is, and then with every change."""
        self._watchers.append(watcher)
        for name in self.names():
            watcher(name, bool(self.serves(name)))

    def drain(self) -> None:
        """From now on nobody serves."""
        self.draining = True
        for name in self.names():
            self._tell(name)

    def _tell(self, name: str) -> None:
        for watcher in self._watchers:
            watcher(name, bool(self.serves(name)))
