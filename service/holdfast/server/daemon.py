"""The daemon's life: boot, serve and reload until asked to stop, drain, exit 0.

``serve`` is what ``holdfast run`` calls. Everything below it runs on one loop; the boot and the closing run in its
main task, so that what a plugin opened before its ``yield`` is closed by the task that opened it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Protocol

from google.protobuf.message import Message

import holdfast
from holdfast import config, log, loop, namespaces
from holdfast.api.events.v1.config_pb2 import ConfigRejected, ConfigReloaded
from holdfast.config import watch
from holdfast.errors import BootError, DaemonUseless, HoldfastError
from holdfast.metrics import Counter, Gauge
from holdfast.plugin import Kind
from holdfast.process import heap
from holdfast.server import stacks
from holdfast.server.build import Daemon, Registrations
from holdfast.server.listeners import ITSELF, Listeners
from holdfast.server.notify import Notifier
from holdfast.server.signals import Interrupted, StopRequest, handled

LOG = log.named(__name__)
#: What is left to close plugins and listeners after the calls in flight had their time.
CLOSING_S = 15.0
#: What a daemon has to close everything that ends because a vital job did: what hangs may be what is closed.
FAILED_S = 10.0
NAMESPACE = "holdfast"  # of the daemon's own events


OnReady = Callable[[str], None]


class Publisher(Protocol):
    """What we ask of the event exchange."""

    def publish(self, topic: str, event: Message, /) -> object:
        """Send an event in the current namespace."""


def serve(
    path: str | None,
    overrides: config.Overrides,
    registrations: Registrations,
    events: Kind[Publisher],
    on_ready: OnReady | None = None,
) -> None:
    """Run a daemon until SIGTERM or SIGINT; ``on_ready`` is called with the gRPC address once it serves.

    Raises:
        HoldfastError: it cannot start, or cannot go on; one line.
    """
    loaded = config.load(path, overrides)
    log.set_up(loaded.settings.debug.level, loaded.settings.debug.format)
    for warning in loaded.warnings:
        LOG.warning(warning)
    heap.share_arena()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(Life(path, overrides, Daemon(loaded, registrations), events).run(on_ready))
        except DaemonUseless as error:
            os.write(2, f"holdfast: {error}\n".encode())
            os._exit(1)  # what hangs is not waited for, wherever the interpreter would


class Life:
    """One daemon between start and exit."""

    def __init__(self, path: str | None, overrides: config.Overrides, daemon: Daemon, events: Kind[Publisher]) -> None:
        self._path, self._overrides, self._daemon, self._events = path, overrides, daemon, events
        self._notifier = Notifier()
        self._grace_s = daemon.settings.timeout_s("shutdown.grace")
        self._reloads = Counter("holdfast_config_reloads_total", "Reloads of the configuration.", ["result"])
        self._good = Gauge("holdfast_config_last_reload_successful", "Whether the last reload took effect.")
        self._good_at = Gauge(
            "holdfast_config_last_reload_success_timestamp_seconds", "When the configuration in force was read."
        )
        for result in ("applied", "rejected"):  # there from the start: the first of each is an increase, too
            self._reloads.labels(result)
        daemon.metrics.add(self._reloads, self._good, self._good_at)
        self._remember_good()

    async def run(self, on_ready: OnReady | None = None) -> None:
        """Boot, serve, drain. Raises what the boot raises.

        Raises:
            DaemonUseless: something vital ended.
        """
        began = time.perf_counter()
        stop = StopRequest(self._grace_s + CLOSING_S)
        self._daemon.on_end = lambda why: stop.fail(why, FAILED_S)
        LOG.info("starting holdfast", version=holdfast.__version__, python=sys.version.split()[0], pid=os.getpid())
        with handled(stop, self.reload, stacks.write):
            async with AsyncExitStack() as stack:
                try:
                    with stop.interrupts():
                        listeners = await self._daemon.boot(stack)
                except Interrupted:
                    LOG.info("stopped before the boot had ended")
                else:
                    await self._serve(listeners, stop, on_ready, began)
            if stop.failure:
                raise DaemonUseless(stop.failure)
        LOG.info("holdfast stopped")

    async def _serve(self, listeners: Listeners, stop: StopRequest, on_ready: OnReady | None, began: float) -> None:
        """From the end of the boot until the last call is answered."""
        self._start_own_tasks()
        self._notifier.status(f"serving on {self._daemon.settings.grpc.address}")
        self._notifier.ready()
        LOG.info(f"holdfast successfully booted in {time.perf_counter() - began:.6f}s")
        if on_ready is not None:
            on_ready(self._daemon.settings.grpc.address)
        await stop.asked.wait()
        await self._drain(listeners, stop)

    def reload(self) -> None:
        """Read the configuration again, because of SIGHUP or a changed file. Never raises."""
        self._notifier.reloading()
        try:
            fresh = config.load(self._path, self._overrides)
            for warning in fresh.warnings:
                LOG.warning(warning)
            change = self._daemon.reload(fresh)
        except HoldfastError as error:
            LOG.error("configuration rejected; the one before stays in force", error=error)
            self._reloads.inc("rejected")
            self._good.set(0)
            self._publish("/config/rejected", ConfigRejected(reason=str(error)))
        else:
            for key in change.needs_restart:
                LOG.warning("changed setting needs a restart", key=key)
            LOG.info("configuration reloaded", applied=" ".join(change.applied) or "nothing")
            self._reloads.inc("applied")
            self._remember_good()
            self._publish(
                "/config/reloaded",
                ConfigReloaded(applied=change.applied, needs_restart=change.needs_restart, hash=fresh.content_hash),
            )
        finally:
            self._notifier.ready()

    async def _drain(self, listeners: Listeners, stop: StopRequest) -> None:
        """NOT_SERVING, no new calls, the ones in flight answered; a second signal ends the wait."""
        self._notifier.stopping()
        LOG.info("draining", grace=f"{self._grace_s:g}s")
        self._daemon.board.drain()
        hurried = asyncio.ensure_future(stop.hurry.wait())
        draining = asyncio.ensure_future(listeners.drain(self._grace_s))
        try:
            await asyncio.wait((hurried, draining), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = draining.result() if draining.done() else listeners.running
            for task in (hurried, draining):
                task.cancel()
        if left:
            LOG.warning("calls cut off", calls=left, reason="grace is over" if draining.done() else "second signal")

    def _start_own_tasks(self) -> None:
        tasks, daemon = self._daemon.tasks, self._daemon
        if daemon.loaded.patterns:
            tasks.start(ITSELF, "watch configuration", self._watch)
        interval_s = self._notifier.watchdog_interval_s
        if interval_s is not None:
            tasks.start(ITSELF, "watchdog", lambda: self._feed_watchdog(interval_s))

    async def _watch(self) -> None:
        daemon = self._daemon
        async for _ in watch.changes(lambda: daemon.loaded.patterns, daemon.loaded.fingerprint):
            LOG.debug("configuration changed on disk")
            self.reload()

    async def _feed_watchdog(self, interval_s: float) -> None:
        """Feed it while all that is vital goes on: the loop's own turn is no proof of that."""
        while True:
            if not self._daemon.faults.vital:
                self._notifier.alive()
            await asyncio.sleep(interval_s)

    def _publish(self, topic: str, event: Message) -> None:
        exchange = next(iter(self._daemon.plugins.all(self._events).values()), None)
        if exchange is not None:
            with namespaces.inside(NAMESPACE):
                exchange.publish(topic, event)

    def _remember_good(self) -> None:
        self._good.set(1)
        self._good_at.set(time.time())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Ours, or what ``HOLDFAST_LOOP`` names: ``asyncio`` for its own (None), or ``uvloop``.

    uvloop takes about a tenth of the CPU off a call, and costs every node 7 MiB and a tenth of the start: it brings
    ``ssl``. The node's own traffic is a few calls a second.
    """
    name = os.environ.get("HOLDFAST_LOOP", "")
    if name == "uvloop":
        try:
            import uvloop
        except ImportError as error:
            raise BootError("HOLDFAST_LOOP=uvloop: uvloop is not installed; pip install holdfast[uvloop]") from error
        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        return factory
    if name not in ("", "asyncio"):
        raise BootError(f"HOLDFAST_LOOP={name}: no such event loop; leave it unset, or say asyncio or uvloop")
    return None if name == "asyncio" else loop.new_event_loop
