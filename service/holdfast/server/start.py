"""Start of one plugin and, later, its close: the effects of a plugin's init on the daemon end here.

Skipping is a normal outcome, failing a warning; the daemon goes on unless the plugin is required. An init that does not
end fails after ``io.holdfast.timeout.plugin.init``.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from holdfast import log
from holdfast.errors import BootError, DeadlineExceeded, HoldfastError, SkipPlugin
from holdfast.plugin import InitContext, PluginState, Registration, State
from holdfast.server.tasks import Tasks

LOG = log.named(__name__)


async def start(
    registration: Registration, context: InitContext, stack: AsyncExitStack, tasks: Tasks, limit_s: float
) -> PluginState:
    """Run one plugin's init; ``stack`` closes a plugin that started. A plugin's error is in the result,
    never raised.
    """
    uri = registration.uri
    LOG.info(f'loading plugin "{uri}"...', type=registration.kind.uri)
    lifetime = asynccontextmanager(registration.init)(context)
    try:
        instance = await _entered(lifetime, limit_s)
    except SkipPlugin as reason:
        LOG.info(f'skip loading plugin "{uri}"...', error=reason, type=registration.kind.uri)
        outcome = PluginState(registration, State.SKIPPED, error=reason)
    except (Exception, SystemExit) as raised:  # an init is a plugin author's code and may raise anything
        error = _plain(raised)
        LOG.warning(f"failed to load plugin {uri}", error=_words(error), type=registration.kind.uri)
        outcome = PluginState(registration, State.FAILED, error=error)
    else:
        stack.push_async_callback(_close, uri, lifetime, tasks, limit_s)
        outcome = PluginState(registration, State.READY, instance)
    if outcome.state is not State.READY:
        await tasks.cancel(uri)  # what it started in the background before it gave up
    outcome.exports, outcome.capabilities = context.exports, context.capabilities
    return outcome


def check_required(outcome: PluginState, required: set[str]) -> None:
    """End the boot at once if a required plugin is not ready.

    Raises:
        BootError: ``load required plugin URI: <its error>``.
    """
    if outcome.state is not State.READY and outcome.uri in required:
        assert outcome.error is not None
        raise BootError(f"load required plugin {outcome.uri}: {_words(outcome.error)}") from outcome.error


async def _entered(lifetime: AbstractAsyncContextManager[Any], limit_s: float) -> Any:
    deadline = asyncio.timeout(limit_s or None)
    try:
        async with deadline:
            return await lifetime.__aenter__()
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise DeadlineExceeded(f"init did not end within {limit_s:g}s") from error


async def _close(uri: str, lifetime: AbstractAsyncContextManager[Any], tasks: Tasks, limit_s: float) -> None:
    await tasks.cancel(uri)
    try:
        async with asyncio.timeout(limit_s or None):
            await lifetime.__aexit__(None, None, None)
    except Exception as error:  # the next plugin must still be closed
        LOG.error("failed to close plugin", id=uri, error=_words(error))
    else:
        LOG.debug("closed plugin", id=uri)


def _plain(error: Exception | SystemExit) -> Exception:
    """Return ``error``, but ``sys.exit`` as an error of the plugin: it ends the plugin, not the daemon."""
    return error if isinstance(error, Exception) else HoldfastError(f"it asked the process to exit with {error.code}")


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
