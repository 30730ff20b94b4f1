"""Start of one plugin and, later, its close: the effects of a plugin's init on the daemon end here.

Skipping is a normal outcome, failing a warning; the daemon goes on unless the plugin is required, or asked the boot to
wait for it. An init that does not end fails after ``io.holdfast.timeout.plugin.init``, even if it ignores its
cancellation (`deadline`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from msgspec import Struct

from holdfast import failure, log
from holdfast.errors import BootError, SkipPlugin
from holdfast.failure import contained
from holdfast.plugin import InitContext, PluginState, Registration, State
from holdfast.server.blocked import BlockWatch
from holdfast.server.deadline import within
from holdfast.server.readiness import Readiness
from holdfast.server.tasks import Tasks

LOG = log.named(__name__)
#: The exceptions of a task group. It may have cancelled the task that it is in, and Python 3.11 keeps that counted. A
#: stop of the boot that is lost with it is noticed when the boot has ended.
_OF_A_GROUP = (BaseExceptionGroup, SystemExit, KeyboardInterrupt)
SLOW_S = 5.0  # until an init or close is named that still runs; a stop is given up not much later


async def start(
    registration: Registration,
    context: InitContext,
    stack: AsyncExitStack,
    tasks: Tasks,
    limit_s: float,
    watch: BlockWatch,
) -> PluginState:
    """Run one plugin's init; ``stack`` closes a plugin that started. A plugin's error is in the result,
    never raised.
    """
    uri = registration.uri
    LOG.info(f'loading plugin "{uri}"...', type=registration.kind.uri)
    task = asyncio.current_task()
    assert task is not None
    cancels = task.cancelling()
    try:
        steps = registration.init(context)
        lifetime = asynccontextmanager(lambda: steps)()
        with watch.during(uri, "init"), _named_when_slow(uri, "init", steps):
            instance = await within(limit_s, "init", lifetime.__aenter__())
    except SkipPlugin as reason:
        LOG.info(f'skip loading plugin "{uri}"...', error=reason, type=registration.kind.uri)
        outcome = PluginState(registration, State.SKIPPED, error=reason)
    except BaseException as raised:  # an init is a plugin author's code and may raise anything
        outcome = failed(registration, contained(raised))
        if isinstance(raised, _OF_A_GROUP):
            while task.cancelling() > cancels:
                task.uncancel()
    else:
        stack.push_async_callback(_close, _Started(uri, steps, lifetime), tasks, limit_s, watch)
        outcome = PluginState(registration, State.READY, instance)
    if outcome.state is not State.READY:
        await tasks.cancel(uri)  # what it started in the background before it gave up
    outcome.exports, outcome.capabilities = context.exports, context.capabilities
    if task.cancelling() > cancels:  # the init swallowed the stop of the boot
        raise asyncio.CancelledError
    return outcome


def failed(registration: Registration, error: Exception) -> PluginState:
    """Log that a plugin did not start, and return its state."""
    LOG.warning(f"failed to load plugin {registration.uri}", type=registration.kind.uri, **failure.fields(error))
    return PluginState(registration, State.FAILED, error=error)


def check_required(outcome: PluginState, required: set[str]) -> None:
    """End the boot at once if a required plugin is not ready.

    Raises:
        BootError: ``load required plugin URI: <its error>``.
    """
    if outcome.state is not State.READY and outcome.uri in required:
        assert outcome.error is not None
        raise BootError(f"load required plugin {outcome.uri}: {failure.sentence(outcome.error)}") from outcome.error


def check_asked(outcome: PluginState, readiness: Readiness) -> None:
    """End the boot at once if a plugin is not ready that asked the boot to wait for it, as containerd 2.3 does.

    Raises:
        BootError: ``plugin failed after registering readiness URI: <its error>``.
    """
    if outcome.error is not None and readiness.asked(outcome.uri):
        words = f"plugin failed after registering readiness {outcome.uri}: {failure.sentence(outcome.error)}"
        raise BootError(words) from outcome.error


class _Started(Struct, frozen=True):
    """A plugin that is to be closed: its generator, and the generator as a context."""

    uri: str
    steps: AsyncIterator[Any]
    lifetime: AbstractAsyncContextManager[Any]


async def _close(plugin: _Started, tasks: Tasks, limit_s: float, watch: BlockWatch) -> None:
    uri = plugin.uri
    await tasks.cancel(uri)
    try:
        with watch.during(uri, "close"), _named_when_slow(uri, "close", plugin.steps):
            await within(limit_s, "close", _left(plugin.lifetime))
    except BaseException as raised:  # the next plugin must still be closed
        LOG.error("failed to close plugin", id=uri, **failure.fields(contained(raised)))
    else:
        LOG.debug("closed plugin", id=uri)


async def _left(lifetime: AbstractAsyncContextManager[Any]) -> None:
    await lifetime.__aexit__(None, None, None)


@contextmanager
def _named_when_slow(uri: str, what: str, steps: AsyncIterator[Any]) -> Iterator[None]:
    """Log the plugin if the block takes longer than `SLOW_S`."""

    def name() -> None:
        at = failure.running_place(getattr(steps, "ag_frame", None))
        LOG.warning(f"plugin is still in its {what}", id=uri, seconds=SLOW_S, at=at)

    timer = asyncio.get_running_loop().call_later(SLOW_S, name)
    try:
        yield
    finally:
        timer.cancel()
