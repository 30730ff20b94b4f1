"""The boot: every step from a configuration to a daemon that serves, in the order of ``docs/design.md``.

Each step puts its undoing on one stack, so a boot that fails half-way and a clean stop end the same way: servers,
then plugins in reverse, then the tasks, then the directory's lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import holdfast
from holdfast import config, log
from holdfast.errors import ConfigError, UnusableConfigType
from holdfast.failure import sentence
from holdfast.listener.descriptors import Bounds, raise_limit
from holdfast.metrics import Counter, Gauge, Registry
from holdfast.metrics import process as process_metrics
from holdfast.plugin import Endpoint, InitContext, PluginSet, Registration, State
from holdfast.plugin.context import Configuration, OnReload, Places
from holdfast.plugin.decorator import failing
from holdfast.plugin.graph import expand_short_ids, ordered
from holdfast.plugin.services import METRICS
from holdfast.plugin.serving import ServingBoard
from holdfast.server import directories, signals
from holdfast.server.addresses import endpoints_of, refuse_taken
from holdfast.server.blocked import BlockWatch
from holdfast.server.faults import DAEMON, Faults
from holdfast.server.lock import locked
from holdfast.server.readiness import Readiness
from holdfast.server.reload import Reloadable, ReloadResult, flattened, unflattened
from holdfast.server.self_limits import apply_to_self
from holdfast.server.servers import OTEL, Servers
from holdfast.server.start import check_asked, check_required, start
from holdfast.server.tasks import Job, Pauses, Tasks

if TYPE_CHECKING:
    import grpc

    from holdfast import ttrpc

LOG = log.named(__name__)
ITSELF = "holdfast"  # as the owner of a task
PROC_ROOT, CGROUP_ROOT = "/proc", "/sys/fs/cgroup"

Registrations = Callable[[config.Settings], Sequence[Registration]]


class Daemon:
    """One daemon. An `InitContext` has it as ``context.daemon``."""

    def __init__(
        self, loaded: config.Loaded, registrations: Registrations, *, has_fallback: Callable[[], bool] = lambda: False
    ) -> None:
        """Start nothing yet. ``has_fallback`` returns whether there is another configuration to boot with if this is
        refused.
        """
        self.loaded = loaded
        self._has_fallback = has_fallback
        self.settings = loaded.settings
        self.registrations = list(registrations(loaded.settings))
        self.metrics = Registry()
        self.plugins = PluginSet()
        self.board = ServingBoard()
        self.readiness = Readiness()
        self.reloadable = Reloadable()
        self.faults = Faults(self.board, self.plugins, self._services_relying_on, self._is_vital)
        self.on_end: Callable[[str], None] = lambda why: None
        self.tasks = Tasks(self.fault, self._end, Pauses(left_s=self.settings.timeout_s("plugin.init")))
        self.metrics.add(*self.tasks.families)
        self.sections: dict[str, Any] = {}
        self.since_unix_ns = time.time_ns()
        self.needs_restart: tuple[str, ...] = ()
        self.refused = ""
        self.is_last_good = False

    def run_in_background(self, owner: str, name: str, job: Job, *, once: bool = False, vital: bool = False) -> None:
        """Implement `InitContext.background`."""
        self.tasks.start(owner, name, job, once=once, vital=vital)

    def fault(self, owner: str, cause: str, words: str, *, vital: bool = False) -> None:
        """Implement `InitContext.fault`."""
        self.faults.set(owner, cause, words, vital=vital)

    def wait_for(self, uri: str, what: str) -> Callable[[], None]:
        """Implement `InitContext.readiness`."""
        return self.readiness.wait_for(uri, what)

    def configuration(self) -> Configuration:
        """Return the configuration in force, for ``context.daemon``."""
        from holdfast.config.render import in_force

        values, known = self.reloadable.in_force, [one.uri for one in self.registrations]
        sections = {uri: values[f"plugins.{uri}"] for uri in self.sections}
        return Configuration(
            in_force(unflattened(self.settings, values), sections, known),
            self.loaded.content_hash,
            self.since_unix_ns,
            tuple(map(str, self.loaded.sources)),
            self.needs_restart,
            self.refused,
            self.is_last_good,
        )

    def call_on_reload(self, uri: str, callback: OnReload) -> Callable[[], None]:
        """Implement `InitContext.on_reload`."""
        self.reloadable.on(f"plugins.{uri}", callback)
        return lambda: self.reloadable.touch(f"plugins.{uri}")

    def call_on_setting(self, key: str, callback: OnReload) -> None:
        """Implement `DaemonServices.call_on_setting`."""
        self.reloadable.on(key, callback)

    def stacks(self, *, threads: bool = True) -> str:
        """Implement `DaemonServices.stacks`."""
        from holdfast.server import thread_dump

        return thread_dump.text() if threads else thread_dump.tasks()

    def set_log_level(self, level: str) -> None:
        """Implement `DaemonServices.set_log_level`."""
        log.set_level(level)
        self.reloadable.touch("debug.level")

    def grpc_channel(
        self, target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
    ) -> grpc.aio.Channel:
        """Implement `InitContext.grpc_channel`."""
        from holdfast.server import outgoing

        return outgoing.grpc_channel(target, credentials, options)

    def ttrpc_client(self, target: str) -> ttrpc.Client:
        """Implement `InitContext.ttrpc_client`."""
        from holdfast.server import outgoing

        return outgoing.ttrpc_client(target, self.plugins.all(METRICS).get(OTEL))

    async def boot(self, stack: AsyncExitStack) -> Servers:
        """Start everything; ``stack`` undoes what was started.

        Raises:
            BootError, ConfigError, MisusedPlugin: the one line to print before exit code 1.
        """
        settings = self.settings
        directories.prepare(settings.root, settings.state, settings.temp)
        stack.enter_context(locked(Path(settings.root)))
        enabled = ordered(self.registrations, self._uris(settings.disabled_plugins))
        self.sections, unusable = self._decoded(settings, enabled)
        endpoints, unknown = endpoints_of(settings, self.sections, enabled)
        left_out = refuse_taken(endpoints)
        apply_to_self(settings.oom_score, settings.cgroup.path, proc_root=PROC_ROOT, cgroup_root=CGROUP_ROOT)
        self.reloadable.begin(flattened(settings, self.sections))
        bounds = self._prepare(endpoints)
        await stack.enter_async_context(self.tasks)
        await self._start_plugins([_or_failing(one, unusable | unknown | left_out) for one in enabled], stack)
        servers = Servers(settings, self.plugins, self.board, endpoints, bounds)
        self._register_services(servers)
        await self._start_servers(servers, stack)
        await self._wait_until_ready()
        return servers

    def say_last_good(self) -> None:
        """Set or clear the fault in health that the last good configuration is in force, and not that of the files."""
        configured = {service for one in self.registrations if one.config is not None for service in one.services}
        for name in {DAEMON, *configured}:
            self.board.fault(name, "last good configuration", present=self.is_last_good)

    def reload(self, fresh: config.Loaded) -> ReloadResult:
        """Apply the changes that need no restart; name the others, which the next reload compares again.

        The new values are compared with those in force, so that a change and its reversal are two changes.

        Raises:
            ConfigError: nothing changed.
        """
        sections, _ = self._decoded(fresh.settings, [plugin.registration for plugin in self.plugins])
        change = self.reloadable.apply(flattened(fresh.settings, sections))
        self.loaded, self.needs_restart, self.since_unix_ns = fresh, change.needs_restart, time.time_ns()
        return change

    def _decoded(
        self, settings: config.Settings, enabled: Sequence[Registration]
    ) -> tuple[dict[str, Any], dict[str, Exception]]:
        """Decode each enabled plugin's config, before any plugin starts; return the configs by URI, and the errors of
        config types that cannot be used.

        Raises:
            ConfigError: with file, line and key.
        """
        known = {registration.uri: registration.config for registration in self.registrations}
        warnings = config.check_sections(settings, known)
        sections: dict[str, Any] = {}
        unusable: dict[str, Exception] = {}
        for registration in enabled:
            uri = registration.uri
            if registration.config is None:
                continue
            try:
                sections[uri] = config.decode_section(
                    settings, uri, registration.config, warnings, registration.config_migration
                )
            except UnusableConfigType as error:
                unusable[uri] = error
                continue
            warnings += config.placed(settings, uri, registration.remarks_on(sections[uri]))
        for warning in warnings:
            LOG.warning(str(warning))
        return sections, unusable

    def _prepare(self, endpoints: Mapping[str, Sequence[Endpoint]]) -> Bounds:
        """Add the metrics of the process and follow the log level; raise the limit of open files, and return what peers
        may take of it.
        """
        built = Gauge("holdfast_build_info", "Constant 1, labelled by what was built.", ["revision", "version"])
        built.set(1, holdfast.__revision__, holdfast.__version__)
        left_out = Counter(
            "holdfast_log_lines_suppressed_total",
            "Log lines not printed: too many of one kind came at once.",
            read=lambda: [((), float(log.LIMITER.suppressed))],
        )
        self.metrics.add(left_out, built, *process_metrics.families(PROC_ROOT))
        self.reloadable.on("debug.level", log.set_level)
        brought = sum(one.name not in Bounds.__struct_fields__ for one in chain.from_iterable(endpoints.values()))
        return Bounds.within(raise_limit(), brought)

    async def _start_plugins(self, enabled: Sequence[Registration], stack: AsyncExitStack) -> None:
        settings = self.settings
        required, limit_s = self._uris(settings.required_plugins), settings.timeout_s("plugin.init")
        places = Places(
            Path(settings.root),
            Path(settings.state),
            settings.grpc.address,
            settings.ttrpc_address,
            PROC_ROOT,
            CGROUP_ROOT,
        )
        watch = BlockWatch()
        for registration in enabled:  # graph order: the plugins it requires are already in `self.plugins`
            section = self.sections.get(registration.uri)
            context = InitContext(registration, section, settings, places, self.plugins, self.metrics, self.board, self)
            outcome = self.plugins.add(await start(registration, context, stack, self.tasks, limit_s, watch))
            if replaced := signals.regained():
                names = " ".join(replaced)
                LOG.warning("plugin replaced the daemon's signal handlers; undone", id=outcome.uri, signals=names)
            if outcome.state is not State.READY:
                self.reloadable.off(f"plugins.{outcome.uri}")
            if isinstance(outcome.error, ConfigError) and self._has_fallback():
                raise outcome.error
            check_required(outcome, required)
            check_asked(outcome, self.readiness)
        self.plugins.check_not_missing(sorted(required))

    def _register_services(self, servers: Servers) -> None:
        services, required = servers.services, self._uris(self.settings.required_plugins)
        for plugin in list(self.plugins.ready()):
            services.register(plugin)
            check_required(plugin, required)
        services.mark_absent()
        for plugin in self.plugins:
            if plugin.error is not None and plugin.instance is not None:  # it started, and is not served
                self.fault(plugin.uri, "services", f"its services are not registered: {sentence(plugin.error)}")
            for service in services.unoffered(plugin):
                words = f"it declares service {service} and did not register it"
                LOG.warning("plugin does not offer what it declares", id=plugin.uri, service=service)
                self.fault(plugin.uri, f"service {service}", words)

    async def _start_servers(self, servers: Servers, stack: AsyncExitStack) -> None:
        required = self._uris(self.settings.required_plugins)
        self.metrics.add(servers.connections.closed, servers.connections.pauses, servers.connections.open)
        await servers.start(stack)
        for plugin in self.plugins:
            if plugin.instance is not None:
                check_required(plugin, required)

    async def _wait_until_ready(self) -> None:
        limit_s = self.settings.timeout_s("plugin.ready")
        for late in await self.readiness.all(limit_s):
            waits_for = f" ({late.what})" if late.what else ""
            LOG.warning("plugin not ready in time; serving without it", plugin=f"{late.uri}{waits_for}")
            cause = f"readiness {id(late)}"
            self.fault(late.uri, cause, f"not ready within {limit_s:g}s{waits_for}")
            late.on_end = partial(self.fault, late.uri, cause, "")
        self.board.set(DAEMON, True)

    def _uris(self, names: Sequence[str]) -> set[str]:
        """The URIs of the plugins that the configuration names (a version 1 file names plugins by short id)."""
        return expand_short_ids(names, self.registrations) if self.loaded.short_ids else set(names)

    def _end(self, why: str) -> None:
        self.on_end(why)

    def _services_relying_on(self, uri: str) -> set[str]:
        """The services of a plugin and of the plugins that require it, directly or through others."""
        relying = {one.uri: one for one in self.registrations if one.uri == uri}
        while True:
            kinds = {one.kind.uri for one in relying.values()}
            more = {
                one.uri: one
                for one in self.registrations
                if one.uri not in relying and any(kind.uri in kinds for kind in one.requires)
            }
            if not more:
                return {service for one in relying.values() for service in one.services}
            relying |= more

    def _is_vital(self, owner: str) -> bool:
        return owner == ITSELF or owner in self._uris(self.settings.required_plugins)


def _or_failing(registration: Registration, unusable: dict[str, Exception]) -> Registration:
    error = unusable.get(registration.uri)
    return registration if error is None else msgspec.structs.replace(registration, init=failing(error))
