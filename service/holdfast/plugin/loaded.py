"""Outcome of each plugin's start: ready with an instance, skipped with a reason, or failed with an error."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from msgspec import Struct, field

from holdfast.errors import AlreadyExists, BootError, FailedPrecondition, NotFound
from holdfast.failure import sentence
from holdfast.plugin.registration import Kind, Registration

T = TypeVar("T")


class State(enum.Enum):
    """The three outcomes of a plugin's start."""

    READY = "ready"
    SKIPPED = "skipped"
    FAILED = "failed"


class PluginState(Struct):
    """One plugin whose start was tried, as introspection shows it. The plugin sets ``exports`` and ``capabilities``.

    ``faults`` says what does not work in a plugin that is ready, by cause.
    """

    registration: Registration
    state: State
    instance: Any = None
    error: BaseException | None = None
    exports: Mapping[str, str] = field(default_factory=dict)
    capabilities: Iterable[str] = ()
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """``<kind>.<id>``."""
        return self.registration.uri


class PluginSet:
    """Every plugin tried so far, in order; the look-ups behind `InitContext`."""

    def __init__(self) -> None:
        self._states: dict[str, PluginState] = {}

    def __iter__(self) -> Iterator[PluginState]:
        return iter(self._states.values())

    def __len__(self) -> int:
        return len(self._states)

    def get(self, uri: str) -> PluginState | None:
        """The state of ``uri``; None if its start was never tried (unknown, disabled or not yet)."""
        return self._states.get(uri)

    def add(self, state: PluginState) -> PluginState:
        """Add the outcome of one plugin.

        Raises:
            AlreadyExists: that URI was tried already.
        """
        if state.uri in self._states:
            raise AlreadyExists(f"could not add plugin result to plugin set: plugin {state.uri} already initialized")
        self._states[state.uri] = state
        return state

    def ready(self) -> Iterator[PluginState]:
        """The plugins that have an instance, in the order they started."""
        return (state for state in self if state.state is State.READY)

    def single(self, kind: Kind[T]) -> T:
        """The one instance of a kind; skipped plugins do not count.

        Raises:
            NotFound: no plugin of that kind was tried, or all were skipped.
            FailedPrecondition: more than one is ready.
            BaseException: the plugin's own error, if the only candidate failed.
        """
        candidates = [state for state in self._of(kind) if state.state is not State.SKIPPED]
        if not candidates:
            raise NotFound(f"no plugins registered for {kind.uri}")
        ready = [state for state in candidates if state.state is State.READY]
        if len(ready) > 1:
            names = " ".join(state.uri for state in ready)
            raise FailedPrecondition(f"multiple plugins registered for {kind.uri}: {names}")
        return cast(T, _instance(ready[0] if ready else candidates[0]))

    def by_id(self, kind: Kind[T], id: str) -> T:  # noqa: A002 (the field's own name)
        """The instance of one plugin.

        Raises:
            NotFound: it was not tried.
            BaseException: its own error, if it failed or was skipped.
        """
        state = self._states.get(f"{kind.uri}.{id}")
        if state is None:
            raise NotFound(f"no {kind.uri} plugins with id {id}")
        return cast(T, _instance(state))

    def all(self, kind: Kind[T]) -> dict[str, T]:
        """Ready instances of a kind by id, in start order; empty when there are none.

        Failed and skipped ones are left out: a caller that needs a certain one uses `by_id` and gets its error.
        """
        return {state.registration.id: state.instance for state in self._of(kind) if state.state is State.READY}

    def any_offers(self, method: str) -> bool:
        """Whether a ready plugin offers services by ``method``, as ``register_tcp``."""
        return any(hasattr(state.instance, method) for state in self.ready())

    def check_not_missing(self, required: Iterable[str]) -> None:
        """Check, after the last plugin, that every required plugin was at least tried.

        Raises:
            BootError: with the names that were not, in the user's order.
        """
        missing = [uri for uri in dict.fromkeys(required) if uri not in self._states]
        if missing:
            raise BootError(f"required plugin [{' '.join(missing)}] not included")

    def absence(self, service: str) -> str | None:
        """Why ``service`` is not served: the state and error of the plugin that offers it; None if no such plugin is
        known.
        """
        for state in self:
            if service not in state.registration.services:
                continue
            if state.error is not None:
                return f"plugin {state.uri} {state.state.value}: {sentence(state.error)}"
            if state.faults:
                return f"plugin {state.uri}: {'; '.join(state.faults.values())}"
        return None

    def _of(self, kind: Kind[Any]) -> Iterator[PluginState]:
        return (state for state in self if state.registration.kind.uri == kind.uri)


def _instance(state: PluginState) -> object:
    if state.error is not None:
        raise state.error
    return state.instance
