"""Faults of plugins that started: one record that health, ``plugins ls`` and the watchdog read."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from holdfast.plugin import PluginSet
from holdfast.plugin.serving import ServingBoard

DAEMON = ""  # the daemon's own name in health


class Faults:
    """Faults by owner (a plugin's URI, or the daemon's name) and cause.

    ``services_of`` returns the services that are not reliable while the owner has a fault, ``is_vital`` whether the
    daemon as a whole is not.
    """

    def __init__(
        self,
        board: ServingBoard,
        plugins: PluginSet,
        services_of: Callable[[str], Iterable[str]],
        is_vital: Callable[[str], bool],
    ) -> None:
        self._board, self._plugins = board, plugins
        self._services_of, self._is_vital = services_of, is_vital
        self._vital: set[tuple[str, str]] = set()

    @property
    def vital(self) -> bool:
        """Whether a part without which the daemon is useless has a fault."""
        return bool(self._vital)

    def set(self, owner: str, cause: str, words: str, *, vital: bool = False) -> None:
        """Set the fault of ``owner`` for ``cause`` to ``words``; empty ``words`` clear it."""
        key = (owner, cause)
        plugin = self._plugins.get(owner)
        if plugin is not None:
            plugin.faults.pop(cause, None)
            if words:
                plugin.faults[cause] = words
        names = set(self._services_of(owner))
        if vital or self._is_vital(owner):
            names.add(DAEMON)
            (self._vital.add if words else self._vital.discard)(key)
        for name in names:
            self._board.fault(name, key, present=bool(words))
