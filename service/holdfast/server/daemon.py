"""Life of the daemon: boot, serve and reload until a stop request, drain, exit 0.

``holdfast run`` calls ``serve``. Everything below it runs on one loop. The boot and the closing run in its main task,
so that the task that opened something before a plugin's ``yield`` also closes it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Protocol

from google.protobuf.message import Message
from msgspec import Struct

import holdfast
from holdfast import config, failure, log, namespaces
from holdfast.api.events.v1.config_pb2 import ConfigRejected, ConfigReloaded
from holdfast.config import watch
from holdfast.config.source import Fingerprint, fingerprint
from holdfast.errors import BootError, ConfigError, DaemonUseless, HoldfastError
from holdfast.inert import valid
from holdfast.metrics import Counter, Gauge
from holdfast.plugin import Kind
from holdfast.process import heap
from holdfast.server import last_good, thread_dump
from holdfast.server.build import ITSELF, Daemon, Registrations
from holdfast.server.last_good import LastGood
from holdfast.server.loop_lag import LoopLag
from holdfast.server.notify import Notifier
from holdfast.server.servers import Servers
from holdfast.server.signals import Interrupted, StopRequest, handled

LOG = log.named(__name__)
#: Time to close servers and plugins, after the grace of the calls in flight.
CLOSING_S = 15.0
#: Time to close everything when the daemon ends because a vital job ended: the closing itself may hang.
FAILED_S = 10.0
NAMESPACE = "holdfast"  # of the daemon's own events
_SHOWN = 3  # services in the status line


OnReady = Callable[[str], None]
#: Files and globs whose change matters, and the versions of them that were read last.
Watched = tuple[tuple[str, ...], Fingerprint]


class Publisher(Protocol):
    """The part of the event exchange that the daemon uses."""

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
    files = config.attempt(path, overrides)
    log.set_up()  # for lines logged before the level is known
    revived = _last_good(path, overrides, files) if isinstance(files, config.RefusedConfig) else None
    loaded = revived.loaded if revived is not None else files
    if isinstance(loaded, config.RefusedConfig):
        raise loaded.error
    log.set_up(loaded.settings.debug.level, loaded.settings.debug.format)
    log.catch_strays()
    heap.share_arena()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # so that a KeyboardInterrupt at an import is a plugin's
    lag = LoopLag()
    with asyncio.Runner(loop_factory=_loop_factory(lag)) as runner:
        try:
            _run(runner, Lifecycle(path, overrides, registrations, events, lag).run(loaded, revived, on_ready))
        except DaemonUseless as error:
            os.write(2, f"holdfast: {error}\n".encode())
            os._exit(1)  # the interpreter would wait for what hangs


def _run(runner: asyncio.Runner, life: Coroutine[Any, Any, None]) -> None:
    """Run the daemon to its end. A callback or task of a plugin that exits or stops the loop does not end it."""
    loop = runner.get_loop()
    main = loop.create_task(life, name="holdfast")
    while True:
        try:
            return loop.run_until_complete(main)
        except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
            if main.done():
                raise
            LOG.error("a plugin tried to end the daemon; it goes on", **failure.fields(error))


class Revived(Struct, frozen=True):
    """The last good configuration, in place of files that were refused for ``why``."""

    loaded: config.Loaded
    kept: LastGood
    why: str
    watched: Watched


class Lifecycle:
    """One daemon between start and exit."""

    def __init__(
        self,
        path: str | None,
        overrides: config.Overrides,
        registrations: Registrations,
        events: Kind[Publisher],
        lag: LoopLag,
    ) -> None:
        self._path, self._overrides, self._registrations, self._events = path, overrides, registrations, events
        self._lag = lag
        self._source = config.main_file(path)
        self._notifier = Notifier()
        self._reloads = Counter("holdfast_config_reloads_total", "Reloads of the configuration.", ["result"])
        self._good = Gauge("holdfast_config_last_reload_successful", "Whether the last reload took effect.")
        self._good_at = Gauge(
            "holdfast_config_last_reload_success_timestamp_seconds", "When the configuration in force was read."
        )
        self._on_last_good = Gauge(
            "holdfast_config_last_good_in_use",
            "1 while the last good configuration is in force, as the files were refused at the start.",
        )
        info = Gauge(
            "holdfast_config_info", "Constant 1, labelled by the configuration in force.", ["hash"], read=self._hash_now
        )
        for result in ("applied", "rejected"):  # present from the start: the first of each is an increase, too
            self._reloads.labels(result)
        self._families = (self._reloads, self._good, self._good_at, self._on_last_good, info, lag.seconds)
        self._hash = self._status = ""
        self._serves = self._reload_waits = False
        self._watched: Watched = (), ()
        self._grace_s = 0.0
        self._address = ""
        self._to_keep = asyncio.Event()

    async def run(self, loaded: config.Loaded, revived: Revived | None = None, on_ready: OnReady | None = None) -> None:
        """Boot, serve, drain. If a plugin refuses ``loaded``, do so with the last good configuration instead.

        Raises what the boot raises.

        Raises:
            DaemonUseless: a vital job ended.
        """
        began = time.perf_counter()
        self._make(
            loaded, revived
        )  # imports the plugins; nothing is to be undone yet: until here a signal ends the process at once
        LOG.info("starting holdfast", version=holdfast.__version__, python=sys.version.split()[0], pid=os.getpid())
        stop = StopRequest(self._grace_s + CLOSING_S)
        with handled(stop, self.reload, thread_dump.write):
            try:
                await self._boot_and_serve(revived, stop, on_ready, began)
            except ConfigError as error:
                revived = self._fallback(loaded, str(error)) if revived is None else None
                if revived is None:
                    raise
                log.set_up(revived.loaded.settings.debug.level, revived.loaded.settings.debug.format)
                self._make(revived.loaded, revived)
                await self._boot_and_serve(revived, stop, on_ready, began)
            if stop.failure:
                raise DaemonUseless(stop.failure)
        LOG.info("holdfast stopped")

    def _make(self, loaded: config.Loaded, revived: Revived | None) -> None:
        for warning in loaded.warnings:
            LOG.warning(str(warning))
        has_fallback = (lambda: self._fallback(loaded) is not None) if revived is None else lambda: False
        self._daemon = Daemon(loaded, self._registrations, has_fallback=has_fallback)
        self._daemon.metrics.add(*self._families)
        self._watched = revived.watched if revived is not None else (loaded.patterns, loaded.fingerprint)
        self._grace_s = loaded.settings.timeout_s("shutdown.grace")

    async def _boot_and_serve(
        self, revived: Revived | None, stop: StopRequest, on_ready: OnReady | None, began: float
    ) -> None:
        daemon = self._daemon
        daemon.on_end = lambda why: stop.fail(why, FAILED_S)
        stop.limit_s = self._grace_s + CLOSING_S
        self._remember(revived)
        async with AsyncExitStack() as stack:
            try:
                with stop.interrupts():
                    servers = await daemon.boot(stack)
            except Interrupted:
                LOG.info("stopped before the boot had ended")
            else:
                with self._lag.watched():
                    await self._serve(servers, stop, on_ready, began)

    async def _serve(self, servers: Servers, stop: StopRequest, on_ready: OnReady | None, began: float) -> None:
        """Serve from the end of the boot until the last call is answered."""
        self._start_own_tasks()
        self._address = servers.address
        self._daemon.board.watch(lambda name, serves: self._say_status())
        self._say_status()
        self._notifier.ready()
        LOG.info(f"holdfast successfully booted in {time.perf_counter() - began:.6f}s")
        if self._daemon.is_last_good:
            self._publish("/config/rejected", ConfigRejected(reason=valid(self._daemon.refused)))
        else:
            self._to_keep.set()
        if on_ready is not None:
            on_ready(self._address)
        self._serves = True
        if self._reload_waits:
            self.reload()
        await stop.asked.wait()
        await self._drain(servers, stop)

    def reload(self) -> None:
        """Read the configuration again, because of SIGHUP or a changed file. Never raises.

        During the boot the reload is delayed until its end: plugins that have not started yet could not receive it.
        """
        if not self._serves:
            self._reload_waits = True
            return
        self._notifier.reloading()
        try:
            files = config.attempt(self._path, self._overrides)
            self._watched = files.patterns, files.fingerprint
            if isinstance(files, config.RefusedConfig):
                raise files.error
            for warning in files.warnings:
                LOG.warning(str(warning))
            change = self._daemon.reload(files)
        except HoldfastError as error:
            LOG.error("configuration rejected; the previous one stays in force", error=error)
            self._reloads.inc("rejected")
            self._good.set(0)
            self._daemon.refused = str(error)
            self._publish("/config/rejected", ConfigRejected(reason=valid(str(error))))
        else:
            for key in change.needs_restart:
                LOG.warning("changed setting needs a restart", key=key)
            self._reloads.inc("applied")
            self._remember(None)
            LOG.info("configuration reloaded", applied=" ".join(change.applied) or "nothing", hash=self._config_hash())
            self._publish(
                "/config/reloaded",
                ConfigReloaded(applied=change.applied, needs_restart=change.needs_restart, hash=files.content_hash),
            )
            self._to_keep.set()
        finally:
            self._say_status()
            self._notifier.ready()

    async def _drain(self, servers: Servers, stop: StopRequest) -> None:
        """Report NOT_SERVING, refuse new calls and wait for the calls in flight; a second signal ends the wait."""
        self._notifier.stopping()
        LOG.info("draining", grace=f"{self._grace_s:g}s")
        self._daemon.board.drain()
        hurried = asyncio.ensure_future(stop.hurry.wait())
        draining = asyncio.ensure_future(servers.drain(self._grace_s))
        try:
            await asyncio.wait((hurried, draining), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = draining.result() if draining.done() else servers.running
            for task in (hurried, draining):
                task.cancel()
        if left:
            LOG.warning("calls cut off", calls=left, reason="grace is over" if draining.done() else "second signal")

    def _start_own_tasks(self) -> None:
        tasks = self._daemon.tasks
        if self._watched[0]:
            tasks.start(ITSELF, "watch configuration", self._watch)
        if self._source:
            tasks.start(ITSELF, "keep last good configuration", self._keep_last_good)
        interval_s = self._notifier.watchdog_interval_s
        if interval_s is not None:
            tasks.start(ITSELF, "watchdog", lambda: self._feed_watchdog(interval_s))

    async def _watch(self) -> None:
        async for _ in watch.changes(lambda: self._watched[0], self._watched[1]):
            if fingerprint(self._watched[0]) == self._watched[1]:
                continue  # read already: for SIGHUP, or with the imports that came with it
            LOG.debug("configuration changed on disk")
            self.reload()

    async def _keep_last_good(self) -> None:
        """Write each configuration that took effect to root, on a thread: the disk may be slow."""
        while True:
            await self._to_keep.wait()
            self._to_keep.clear()
            daemon = self._daemon
            if any(isinstance(plugin.error, ConfigError) for plugin in daemon.plugins):
                continue  # a plugin did not start because of it: it is not good
            try:
                await asyncio.to_thread(
                    last_good.keep, daemon.settings.root, self._source, daemon.loaded, daemon.since_unix_ns
                )
            except (OSError, HoldfastError) as error:
                LOG.warning("the last good configuration is not kept for a restart", error=error)

    async def _feed_watchdog(self, interval_s: float) -> None:
        """Feed the watchdog while no vital part has a fault; a loop that runs is no proof of that."""
        while True:
            if not self._daemon.faults.vital:
                self._notifier.alive()
            await asyncio.sleep(interval_s)

    def _publish(self, topic: str, event: Message) -> None:
        exchange = next(iter(self._daemon.plugins.all(self._events).values()), None)
        if exchange is not None:
            with namespaces.inside(NAMESPACE):
                exchange.publish(topic, event)

    def _hash_now(self) -> list[tuple[tuple[str, ...], float]]:
        return [((self._config_hash(),), 1)]

    def _config_hash(self) -> str:
        """The hash of the configuration in force, computed when it is first needed: a start has no time for it."""
        self._hash = self._hash or self._daemon.loaded.short_hash
        return self._hash

    def _remember(self, revived: Revived | None) -> None:
        """Record which configuration is in force: that of the files, or the last good one that was kept."""
        daemon, self._hash = self._daemon, ""
        daemon.refused, daemon.is_last_good = revived.why if revived else "", revived is not None
        if revived is not None:
            daemon.since_unix_ns = revived.kept.taken_unix_ns
            LOG.error(
                "configuration rejected; starting with the last good one",
                error=revived.why, age=revived.kept.age, hash=self._config_hash(),
            )  # fmt: skip
        daemon.say_last_good()
        self._good.set(revived is None)
        self._on_last_good.set(revived is not None)
        self._good_at.set(daemon.since_unix_ns / 1e9)

    def _say_status(self) -> None:
        """Send the status line if it is another than before."""
        status = self._status_now()
        if status != self._status:
            self._status = status
            self._notifier.status(status)

    def _status_now(self) -> str:
        daemon, board = self._daemon, self._daemon.board
        if board.draining:
            return "draining"
        status = f"serving on {self._address}"
        if daemon.is_last_good:
            status += f"; on the last good configuration, as {daemon.refused}"
        elif daemon.refused:
            status += f"; the configuration is refused: {daemon.refused}"
        faulty = sorted(name for name in board.names() if name and not board.serves(name))
        if faulty:
            more = f" and {len(faulty) - _SHOWN} more" if len(faulty) > _SHOWN else ""
            status += f"; not serving: {', '.join(faulty[:_SHOWN])}{more}"
        return status

    def _fallback(self, loaded: config.Loaded, why: str = "") -> Revived | None:
        """The last good configuration, if it differs from ``loaded``; ``why`` is why ``loaded`` was refused."""
        kept = last_good.kept(loaded.settings.root, self._source) if self._source else None
        if kept is None or kept.says(loaded):
            return None
        return _revived(kept, self._overrides, why, (loaded.patterns, loaded.fingerprint))


def _last_good(path: str | None, overrides: config.Overrides, files: config.RefusedConfig) -> Revived | None:
    """The last good configuration, to start with instead of refused files; None if there is none that can be used."""
    with suppress(ConfigError):
        source = config.main_file(path)
        for root in files.roots if source else ():
            kept = last_good.kept(root, source)
            if kept is not None:
                return _revived(kept, overrides, str(files.error), (files.patterns, files.fingerprint))
    return None


def _revived(kept: LastGood, overrides: config.Overrides, why: str, watched: Watched) -> Revived | None:
    try:
        return Revived(kept.loaded(overrides), kept, why, watched)
    except ConfigError as error:  # of another version of the daemon
        LOG.warning("the last good configuration cannot be used", error=error)
        return None


def _loop_factory(lag: LoopLag) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the factory of the loop in ``HOLDFAST_LOOP``: ``asyncio`` (the default) or ``uvloop``, whose lag is not
    measured.

    uvloop saves about a tenth of a call's CPU, and costs every node 7 MiB and a tenth of the start, as it imports
    ``ssl``. The node's own traffic is a few calls a second.
    """
    name = os.environ.get("HOLDFAST_LOOP", "")
    if name == "uvloop":
        try:
            import uvloop
        except ImportError as error:
            raise BootError("HOLDFAST_LOOP=uvloop: uvloop is not installed; pip install 'holdfastd[uvloop]'") from error
        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        return factory
    if name not in ("", "asyncio"):
        raise BootError(f"HOLDFAST_LOOP={name}: no such event loop; leave it unset, or say asyncio or uvloop")
    return lag.loop
