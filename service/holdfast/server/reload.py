"""Apply a changed configuration while running: all of what is reloadable, or none of it.

Reloadable are the log level, tracing's ratio and parent_based, and the sections of plugins that registered a callback.
All other changed keys are reported as waiting for a restart. A configuration that does not load, or that one plugin
refuses, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from holdfast import log
from holdfast.errors import ConfigError, HoldfastError

LOG = log.named(__name__)
Callback = Callable[[Any], None]
T = TypeVar("T", bound=msgspec.Struct)


class ReloadResult(Struct, frozen=True):
    """Result of a good reload: keys that are in force, and keys that wait for a restart."""

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


class Reloadable:
    """Callbacks of the reloadable keys, and the values in force. A key is dotted; a plugin's is ``plugins.<URI>``.

    A reload is compared with the values in force, not with those of the boot, so that a second change can reverse the
    first.
    """

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {}
        self._in_force: dict[str, Any] = {}
        self._touched: set[str] = set()

    @property
    def in_force(self) -> Mapping[str, Any]:
        """The value in force of every key, also of keys that no reload changes."""
        return self._in_force

    def begin(self, values: Mapping[str, Any]) -> None:
        """Set the values that the boot put in force."""
        self._in_force = dict(values)

    def on(self, key: str, callback: Callback) -> None:
        """Call ``callback`` with the new value of ``key``; the callback raises to refuse the value."""
        self._callbacks.setdefault(key, []).append(callback)

    def off(self, key: str) -> None:
        """Forget a key's callbacks (its plugin is closing)."""
        self._callbacks.pop(key, None)
        self._touched.discard(key)

    def touch(self, key: str) -> None:
        """Mark that the value in force for ``key`` is no longer the configured one: the next reload applies it
        again.
        """
        self._touched.add(key)

    def apply(self, new: Mapping[str, Any]) -> ReloadResult:
        """Apply every reloadable difference.

        Touched keys come last: if another key is refused, they stay as they are.

        Raises:
            ConfigError: a callback refused; those already called were called again with the values in force.
        """
        old = self._in_force
        differ = {key for key in old.keys() | new.keys() if key in self._touched or old.get(key) != new.get(key)}
        changed = sorted(differ, key=lambda key: (key in self._touched, key))
        applied = [key for key in changed if key in self._callbacks]
        done: list[tuple[str, Callback]] = []
        for key in applied:
            for callback in self._callbacks[key]:
                try:
                    callback(new.get(key))
                except Exception as error:
                    self._take_back(done)
                    if isinstance(error, ConfigError):
                        raise
                    self.touch(key)  # it failed half-way: how much of it is in force is unknown
                    words = str(error) if isinstance(error, HoldfastError) else f"{type(error).__name__}: {error}"
                    raise ConfigError(f"{key}: {words}") from error
                done.append((key, callback))
        self._in_force |= {key: new.get(key) for key in applied}
        self._touched -= set(applied)
        return ReloadResult(tuple(sorted(applied)), tuple(sorted(set(changed) - set(applied))))

    def _take_back(self, done: list[tuple[str, Callback]]) -> None:
        for key, callback in reversed(done):
            try:
                callback(self._in_force.get(key))
            except Exception as error:  # the user must see the refusal; this error goes to the log
                LOG.error("could not undo a reloaded setting", key=key, error=error)
                self.touch(key)


def flattened(settings: msgspec.Struct, sections: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as dotted keys, with each plugin's decoded section whole under ``plugins.<URI>``."""
    flat = dict(_leaves("", settings))
    flat.update({f"plugins.{uri}": section for uri, section in sections.items()})
    return flat


def unflattened(settings: T, flat: Mapping[str, Any]) -> T:
    """``settings`` with the values of `flattened` in place of its own; plugins' sections are left as they are."""
    return _with_leaves("", settings, flat)


def _with_leaves(prefix: str, value: T, flat: Mapping[str, Any]) -> T:
    changed = {}
    for name in value.__struct_fields__:
        inner, key = getattr(value, name), f"{prefix}{name}"
        if isinstance(inner, msgspec.Struct):
            changed[name] = _with_leaves(f"{key}.", inner, flat)
        elif key in flat:
            changed[name] = flat[key]
    return msgspec.structs.replace(value, **changed)


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    for name in value.__struct_fields__:
        inner = getattr(value, name)
        if isinstance(inner, msgspec.Struct):
            yield from _leaves(f"{prefix}{name}.", inner)
        elif f"{prefix}{name}" != "plugins":
            yield f"{prefix}{name}", inner
