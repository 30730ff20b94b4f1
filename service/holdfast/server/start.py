"""Start of one plugin and, later, its close: the effects of a plugin's init on the daemon end here.

Skipping is a normal outcome, failing a warning; the daemon goes on unless the plugin is required, or asked
the boot to wait for it. An init that does not
end fails after ``io.holdfast.timeout.plugin.init``.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from holdfast import failure, log
from holdfast.errors import BootError, DeadlineExceeded, SkipPlugin
from holdfast.failure import contained
from holdfast.plugin import InitContext, PluginState, Registration, State
from holdfast.server.blocked import BlockWatch
from holdfast.server.readiness import Readiness
from holdfast.server.tasks import Tasks

LOG = log.named(__name__)


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
    lifetime = asynccontextmanager(registration.init)(context)
    try:
        with watch.during(uri, "init"):
            instance = await _entered(lifetime, limit_s)
    except SkipPlugin as reason:
        LOG.info(f'skip loading plugin "{uri}"...', error=reason, type=registration.kind.uri)
        outcome = PluginState(registration, State.SKIPPED, error=reason)
    except BaseException as raised:  # an init is a plugin author's code and may raise anything
        outcome = failed(registration, contained(raised))
    else:
        stack.push_async_callback(_close, uri, lifetime, tasks, limit_s, watch)
        outcome = PluginState(registration, State.READY, instance)
    if outcome.state is not State.READY:
        await tasks.cancel(uri)  # what it started in the background before it gave up
    outcome.exports, outcome.capabilities = context.exports, context.capabilities
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


async def _entered(lifetime: AbstractAsyncContextManager[Any], limit_s: float) -> Any:
    deadline = asyncio.timeout(limit_s or None)
    try:
        async with deadline:
            return await lifetime.__aenter__()
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise DeadlineExceeded(f"init did not end within {limit_s:g}s") from error


async def _close(
    uri: str, lifetime: AbstractAsyncContextManager[Any], tasks: Tasks, limit_s: float, watch: BlockWatch
) -> None:
    await tasks.cancel(uri)
    deadline = asyncio.timeout(limit_s or None)
    try:
        with watch.during(uri, "close"):
            async with deadline:
                await lifetime.__aexit__(None, None, None)
    except BaseException as raised:  # the next plugin must still be closed
        error = contained(raised)
        if deadline.expired():
            error = DeadlineExceeded(f"close did not end within {limit_s:g}s")
            error.__cause__ = raised
        LOG.error("failed to close plugin", id=uri, **failure.fields(error))
    else:
        LOG.debug("closed plugin", id=uri)
