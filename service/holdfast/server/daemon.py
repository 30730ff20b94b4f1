"""The daemon from its configuration to exit 0: boot, serve, drain, in the order of ``docs/design.md`` §1.

Everything that must be undone is on one stack, so a boot that fails half-way and a clean stop end the same way:
listeners, then plugins in reverse, then the directory's lock.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import holdfast
from holdfast import config, log
from holdfast.metrics import Registry
from holdfast.plugin import InitContext, PluginSet, Registration
from holdfast.plugin.context import OnReload, Places
from holdfast.plugin.graph import expand_short_ids, ordered
from holdfast.plugin.serving import ServingBoard
from holdfast.server import directories
from holdfast.server.apply import apply_to_self
from holdfast.server.listeners import Listeners
from holdfast.server.lock import locked
from holdfast.server.notify import Notifier
from holdfast.server.readiness import Readiness
from holdfast.server.reload import Reloadable
from holdfast.server.start import check_required, start
from holdfast.server.tasks import Job, Tasks

LOG = log.named(__name__)
ITSELF = "holdfast"  # owner of the daemon's own tasks


class Daemon:
    """One daemon; also what an `InitContext` reaches through ``context.daemon``."""

    def __init__(self, loaded: config.Loaded, registrations: Sequence[Registration]) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.registrations = registrations
        self.metrics = Registry()
        self.plugins = PluginSet()
        self.board = ServingBoard()
        self.readiness = Readiness()
        self.reloadable = Reloadable()
        self.notifier = Notifier()
        self.sections: dict[str, Any] = {}
        self.tasks = Tasks(self._job_failed)

    def run_in_background(self, owner: str, name: str, job: Job) -> None:
        """`InitContext.background`."""
        self.tasks.start(owner, name, job)

    def wait_for(self, uri: str, what: str) -> Callable[[], None]:
        """`InitContext.readiness`."""
        return self.readiness.wait_for(uri, what)

    def call_on_reload(self, uri: str, callback: OnReload) -> None:
        """`InitContext.on_reload`."""
        self.reloadable.on(f"plugins.{uri}", callback)

    async def boot(self, stack: AsyncExitStack) -> Listeners:
        """Start everything; ``stack`` undoes what was started.

        Raises:
            BootError, ConfigError: the one line to say before exit 1.
        """
        settings = self.settings
        LOG.info("starting holdfast", version=holdfast.__version__, python=platform.python_version())
        directories.prepare(settings.root, settings.state, settings.temp)
        stack.enter_context(locked(Path(settings.root)))
        apply_to_self(settings.oom_score, settings.cgroup.path)
        enabled = ordered(self.registrations, self._uris(settings.disabled_plugins))
        self.sections = decoded_sections(settings, enabled)
        listeners = Listeners(settings, self.metrics, self.plugins, self.board)
        await stack.enter_async_context(self.tasks)
        await self._start_plugins(enabled, stack)
        for plugin in self.plugins.ready():
            listeners.register(plugin)
        await listeners.open(stack, self)
        await self._wait_until_ready()
        return listeners

    async def _start_plugins(self, enabled: Sequence[Registration], stack: AsyncExitStack) -> None:
        required = self._uris(self.settings.required_plugins)
        limit_s = self.settings.timeout_s("plugin.init")
        settings = self.settings
        places = Places(Path(settings.root), Path(settings.state), settings.grpc.address, settings.ttrpc_address)
        for registration in enabled:  # graph order: what it requires is already in `self.plugins`
            section = self.sections.get(registration.uri)
            context = InitContext(registration, section, places, self.plugins, self.metrics, self.board, self)
            outcome = self.plugins.add(await start(registration, context, stack, self.tasks, limit_s))
            check_required(outcome, required)
        self.plugins.check_not_missing(sorted(required))

    async def _wait_until_ready(self) -> None:
        late = await self.readiness.all(self.settings.timeout_s("plugin.ready"))
        for name in late:
            LOG.warning("plugin not ready in time; serving without it", plugin=name)
        self.board.set("", not late)

    def _uris(self, names: Sequence[str]) -> set[str]:
        """What the configuration names, as URIs (a version 1 file names plugins by short id)."""
        return expand_short_ids(names, self.registrations) if self.loaded.short_ids else set(names)

    def _job_failed(self, owner: str, name: str, error: BaseException) -> None:
        plugin = self.plugins.get(owner)
        for service in plugin.registration.services if plugin else ():
            self.board.set(service, False)
        if owner in self._uris(self.settings.required_plugins):
            self.board.set("", False)


def decoded_sections(settings: config.Settings, enabled: Sequence[Registration]) -> dict[str, Any]:
    """Each enabled plugin's config by URI, decoded before any plugin starts.

    Raises:
        ConfigError: with file, line and key.
    """
    return {
        registration.uri: config.decode_section(settings, registration.uri, registration.config)
        for registration in enabled
        if registration.config is not None
    }
