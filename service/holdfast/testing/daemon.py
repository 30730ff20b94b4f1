"""A daemon that runs in the test's own process and loop, in directories of its own.

It boots, serves, reloads and drains with the code of ``holdfast run``. Three things differ: it installs no signal
handlers, listens on unix sockets only, and leaves out the plugins that act on the machine (``holdfast.plugins.node``).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc

from holdfast.config import Loaded, Overrides, load
from holdfast.plugin import Kind, PluginSet, Registration
from holdfast.plugins import shipped
from holdfast.server.build import Daemon

T = TypeVar("T")
GRACE_S = 1.0  # for calls in flight at the end


class RunningDaemon:
    """A daemon that serves. ``address`` and ``ttrpc_address`` are the paths of its sockets."""

    def __init__(self, daemon: Daemon, directory: Path) -> None:
        self._daemon, self._directory = daemon, directory
        self._channel: grpc.aio.Channel | None = None
        self.address: str = daemon.settings.grpc.address
        self.ttrpc_address: str = daemon.settings.ttrpc_address

    @property
    def target(self) -> str:
        """The gRPC socket as a channel's target: ``grpc.insecure_channel(daemon.target)``."""
        return f"unix:{self.address}"

    @property
    def channel(self) -> grpc.aio.Channel:
        """A channel to the gRPC socket, for the loop of `running`; the daemon's end closes it."""
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.target)
        return self._channel

    @property
    def plugins(self) -> PluginSet:
        """The outcome of each plugin's start."""
        return self._daemon.plugins

    def single(self, kind: Kind[T]) -> T:
        """The one instance of ``kind``; raises as `PluginSet.single` does."""
        return self.plugins.single(kind)

    def serves(self, service: str = "") -> bool | None:
        """Whether health says SERVING for ``service``, "" for the whole daemon; None for an unknown service."""
        return self._daemon.board.serves(service)

    def metrics(self) -> str:
        """Return what a scrape of ``/metrics`` returns."""
        return self._daemon.metrics.text().decode()

    async def reload(self, config: Mapping[str, Any]) -> None:
        """Apply another configuration, as SIGHUP does after the files have changed. On the daemon's loop only.

        Raises:
            ConfigError: the daemon or a plugin refuses it; the previous one stays in force.
        """
        self._daemon.reload(_loaded(self._directory, config))

    async def _close(self) -> None:
        if self._channel is not None:
            await self._channel.close()


#: Type of the fixture `run_daemon`, which starts a daemon; the arguments are those of `running`.
RunDaemon = Callable[..., RunningDaemon]


@asynccontextmanager
async def running(
    plugins: Iterable[Registration] = (),
    config: Mapping[str, Any] | None = None,
    *,
    required: bool = True,
    directory: Path | None = None,
) -> AsyncIterator[RunningDaemon]:
    """Run a daemon with ``plugins`` beside the built-in ones, and stop it when the block ends.

    ``config`` has the keys of a configuration file. A plugin with the URI of a built-in one replaces it, so a fake may
    stand for what the plugin requires. ``directory`` (of a short name: a socket's path has at most 104 bytes) keeps
    root and state for the next daemon; without one they are removed at the end.

    Raises:
        BootError: one of ``plugins`` is not ready; its own error is the cause. With ``required=False`` the daemon runs
            without it, and ``daemon.plugins`` has the error.
        ConfigError: ``config`` cannot be used.
    """
    wanted = list(plugins)
    place = directory or Path(tempfile.mkdtemp(prefix="holdfast-", dir="/tmp"))  # a socket needs a short path
    stop = asyncio.Event()
    serving: asyncio.Future[RunningDaemon] = asyncio.get_running_loop().create_future()
    # A task of its own: what a plugin opens and closes must be of one task, and a fixture's end may be of another.
    life = asyncio.ensure_future(_live(wanted, dict(config or {}), required, place, serving, stop))
    try:
        await asyncio.wait((life, serving), return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            life.result()
        daemon = serving.result()
        try:
            yield daemon
        finally:
            await daemon._close()
            stop.set()
            await life
    finally:
        if not life.done():  # the test was cancelled during the boot
            life.cancel()
            await asyncio.wait((life,))
        if directory is None:
            shutil.rmtree(place, ignore_errors=True)


async def _live(
    plugins: list[Registration],
    config: dict[str, Any],
    required: bool,
    directory: Path,
    serving: asyncio.Future[RunningDaemon],
    stop: asyncio.Event,
) -> None:
    if required:
        config["required_plugins"] = [*config.get("required_plugins", ()), *(one.uri for one in plugins)]
    daemon = Daemon(_loaded(directory, config), lambda _: _beside_the_built_in(plugins))
    async with AsyncExitStack() as stack:
        listeners = await daemon.boot(stack)
        serving.set_result(RunningDaemon(daemon, directory))
        await stop.wait()
        daemon.board.drain()
        await listeners.drain(GRACE_S)


def _beside_the_built_in(plugins: list[Registration]) -> list[Registration]:
    replaced = {one.uri for one in plugins}
    return [*(one for one in shipped(acting=False) if one.uri not in replaced), *plugins]


def _loaded(directory: Path, config: Mapping[str, Any]) -> Loaded:
    file = directory / "config.yaml"
    own = {"metrics": {"address": ""}, "web": {"address": ""}, **config}
    file.write_text(json.dumps(own, indent=1))  # JSON is YAML
    return load(file, Overrides(f"{directory}/root", f"{directory}/state", f"{directory}/holdfast.sock"))
