"""The link to the runtime: one connection after the other, indefinitely, and the reports of it to the daemon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from holdfast import log
from holdfast.plugin import InitContext
from holdfast.plugins.kinds import EVENTS, PLACEMENT, PODS
from holdfast.plugins.node.nri.adjustments import PlacementValues
from holdfast.plugins.node.nri.config import NAMESPACE, SERVICE, NriConfig
from holdfast.plugins.node.nri.feed import DirectoryFeed
from holdfast.plugins.node.nri.metrics import NriMetrics
from holdfast.plugins.node.nri.service import HandlerContext, PluginService, fail_open
from holdfast.plugins.node.nri.session import PluginIdentity, be_a_plugin
from holdfast.pods.created import CreatedStore
from holdfast.pods.directory import Directory
from holdfast.process import ProcRoot
from holdfast.trust import refuse_untrusted
from holdfast.ttrpc import Reconnect, unix
from holdfast.ttrpc.dial import Connector, ProtocolFactory, inherited

LOG = log.named(__name__)

#: A runtime that restarts is back within seconds; a node without NRI is tried again, cheaply.
RECONNECT = Reconnect(first_s=0.1, longest_s=5.0)
LASTED_S = 10.0  # a connection that ends sooner counts as failed: a runtime may drop us for how we answer


class Link:
    """Keeps us registered as a runtime's plugin. ``on_change`` receives True when we are, False when that ends."""

    def __init__(
        self,
        connect: Connector,
        identity: PluginIdentity,
        handler_context: HandlerContext,
        budget_s: float,
        on_change: Callable[[bool], None],
    ) -> None:
        self.handler_context = handler_context
        self._connect, self._identity, self._on_change = connect, identity, on_change
        self._where = identity.where
        self._guard = fail_open(handler_context.metrics, budget_s)
        self._failures = 0
        self._said: str | None = None

    async def keep(self) -> None:
        """Connect, and reconnect after each end, indefinitely."""
        while True:
            await self.once()
            await asyncio.sleep(self.pause_s)

    @property
    def pause_s(self) -> float:
        """Return the seconds to wait before the next connection."""
        return RECONNECT.delay_s(max(1, self._failures))

    async def once(self) -> None:
        """Run one connection to its end; its errors are not raised."""
        service, began = PluginService(self.handler_context, lambda: self._on_change(True)), time.monotonic()
        try:
            why = await be_a_plugin(self._connect, self._identity, service, self._guard)
        except* Exception as errors:  # whatever it is, the next connection may be better
            why = "; ".join(self._words(error) for error in _leaves(errors))
        self._failures = 0 if time.monotonic() - began >= LASTED_S else self._failures + 1
        self._over(service, why or "it closed the connection")

    def _words(self, error: BaseException) -> str:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return f"{self._where}: {error.strerror}; is NRI on in the runtime's configuration?"
        if isinstance(error, OSError):
            return f"{self._where}: {error.strerror or error}"
        return str(error) or type(error).__name__

    def _over(self, service: PluginService, why: str) -> None:
        if service.synchronized:
            self._said = None
            self._on_change(False)
            LOG.warning("nri: the runtime is gone; connecting again", runtime=service.runtime, why=why)
            return
        if why != self._said:  # otherwise a node without NRI would log it every few seconds
            self._said = why
            LOG.warning("nri: not registered with a runtime; trying again", why=why)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _checked(address: str) -> Connector:
    """A connector to the runtime's socket, which only root may have made: it creates containers by our answers."""
    connect = unix(address)

    async def checked(factory: ProtocolFactory) -> object:
        refuse_untrusted(address.removeprefix("unix://"))
        return await connect(factory)

    return checked


@contextmanager
def open_link(context: InitContext, from_runtime: tuple[int, str, str] | None) -> Iterator[Link]:
    """A link by the plugin's configuration, or by ``from_runtime``: socket, name and index of the runtime."""
    config: NriConfig = context.config
    metrics = NriMetrics()
    exchange = context.single(EVENTS)
    rules = next(iter(context.all(PLACEMENT).values()), None)
    directory = next(iter(context.all(PODS).values()), None)

    def changed(connected: bool) -> None:
        metrics.connected.set(int(connected))
        metrics.connections.labels().value += connected
        context.serving.set(SERVICE, connected)

    proc = ProcRoot(context.places.proc_root)
    store = CreatedStore(context.root_dir / "created.db")
    handler_context = HandlerContext(
        PlacementValues(rules),
        DirectoryFeed(Directory() if directory is None else directory, proc),
        store,
        metrics,
        lambda event: exchange.publish("/nri/created", event, NAMESPACE),
        config.lowest_oom_score_adj,
    )
    if rules is not None and directory is not None:  # an engine that knows no pods would find no rule for the value
        handler_context = replace(handler_context, adoption_target=rules)
    if from_runtime is None:
        connect = _checked(config.socket_path)
        identity = PluginIdentity(config.plugin_name, config.plugin_index, config.socket_path)
    else:
        connect, identity = (
            inherited(from_runtime[0]),
            PluginIdentity(*from_runtime[1:], f"descriptor {from_runtime[0]}"),
        )
    context.serving.set(SERVICE, False)
    metrics.register(context.metrics)
    try:
        yield Link(connect, identity, handler_context, config.budget, changed)
    finally:
        metrics.unregister(context.metrics)
        store.close()
        proc.close()
