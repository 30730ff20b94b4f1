"""Context that a plugin receives at its start: config, directories, the plugins before it, the daemon's services."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from msgspec import Struct, field

from holdfast.config import Settings
from holdfast.errors import MisusedPlugin
from holdfast.metrics import Registry
from holdfast.plugin.loaded import PluginSet
from holdfast.plugin.registration import Kind, Registration
from holdfast.plugin.serving import ServingBoard

if TYPE_CHECKING:
    import grpc
    import typing_extensions

    from holdfast import ttrpc

    ConfigT = typing_extensions.TypeVar("ConfigT", default=Any)
else:
    ConfigT = TypeVar("ConfigT")

T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, None]]
OnReload = Callable[[Any], None]


class Configuration(Struct, frozen=True):
    """The configuration in force: plain data as in a file, with secrets hidden, and facts about it.

    ``hash`` is of the files' settings when they were accepted, ``needs_restart`` names keys of theirs that are not in
    force yet. ``refused``: why the files as they are now are not in force; ``is_last_good``: the boot found them
    refused.
    """

    values: dict[str, Any]
    hash: str
    since_unix_ns: int
    files: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    refused: str = ""
    is_last_good: bool = False


class DaemonServices(Protocol):
    """The services of the daemon that a context uses."""

    def run_in_background(self, owner: str, name: str, job: Job, *, once: bool = False, vital: bool = False) -> None:
        """Run ``job`` until its owner closes."""

    def fault(self, owner: str, cause: str, words: str, *, vital: bool = False) -> None:
        """Set the fault of a plugin; empty ``words``: it works again."""

    def wait_for(self, uri: str, what: str) -> Callable[[], None]:
        """Hold the boot until the returned function is called."""

    def configuration(self) -> Configuration:
        """Return the configuration in force."""

    def grpc_channel(
        self, target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
    ) -> grpc.aio.Channel:
        """Return a channel; see `InitContext.grpc_channel`."""

    def ttrpc_client(self, target: str) -> ttrpc.Client:
        """Return a client; see `InitContext.ttrpc_client`."""

    def call_on_reload(self, uri: str, callback: OnReload) -> Callable[[], None]:
        """Call ``callback`` with the plugin's new config at a reload; see `InitContext.on_reload`."""

    def call_on_setting(self, key: str, callback: OnReload) -> None:
        """Call ``callback`` with the new value of a setting of the daemon at a reload, as ``tracing.ratio``."""

    def stacks(self, *, threads: bool = True) -> str:
        """Return the stacks of all threads and tasks, or of the tasks alone."""

    def set_log_level(self, level: str) -> None:
        """Change the log level until the next reload."""


class Places(Struct, frozen=True):
    """The daemon's directories and sockets, and the roots of the kernel's files."""

    root: Path
    state: Path
    address: str
    ttrpc_address: str
    proc_root: str = "/proc"
    cgroup_root: str = "/sys/fs/cgroup"


class InitContext(Struct, Generic[ConfigT]):
    """Context that a plugin's init receives: ``InitContext[Config]`` for a plugin with the config type ``Config``.

    ``config`` is the decoded config (None for a plugin without a config type), ``settings`` the daemon's whole
    configuration, for reading. ``exports`` and ``capabilities`` may be filled for introspection. ``metrics`` takes the
    plugin's own families, ``serving`` its own health.
    """

    registration: Registration
    config: ConfigT
    settings: Settings
    places: Places
    plugins: PluginSet
    metrics: Registry
    serving: ServingBoard
    daemon: DaemonServices
    exports: dict[str, str] = field(default_factory=dict)
    capabilities: list[str] = field(default_factory=list)

    @property
    def uri(self) -> str:
        """``<kind>.<id>`` of this plugin."""
        return self.registration.uri

    @property
    def address(self) -> str:
        """The gRPC socket's path."""
        return self.places.address

    @property
    def ttrpc_address(self) -> str:
        """The ttrpc socket's path."""
        return self.places.ttrpc_address

    @property
    def root_dir(self) -> Path:
        """``<root>/<uri>``, kept over restarts; created with mode 0700 at its first use."""
        return _made(self.places.root / self.uri)

    @property
    def state_dir(self) -> Path:
        """``<state>/<uri>``, gone after a reboot; created with mode 0700 at its first use."""
        return _made(self.places.state / self.uri)

    def single(self, kind: Kind[T]) -> T:
        """The one instance of ``kind``; raises its error when it failed (see `PluginSet.single`)."""
        return self.plugins.single(kind)

    def by_id(self, kind: Kind[T], id: str) -> T:  # noqa: A002 (the field's own name)
        """The instance of one plugin; raises its error when it failed or was skipped."""
        return self.plugins.by_id(kind, id)

    def all(self, kind: Kind[T]) -> dict[str, T]:
        """Ready instances of ``kind`` by id."""
        return self.plugins.all(kind)

    def readiness(self, what: str = "") -> Callable[[], None]:
        """Hold the boot (READY=1, the boot line) until the returned function is called.

        When the timeout ``io.holdfast.timeout.plugin.ready`` ends the wait, the plugin has a fault (see `fault`) that
        names ``what``, until the function is called. An init that fails or skips after this call ends the boot, as in
        containerd 2.3.
        """
        return self.daemon.wait_for(self.uri, what)

    def background(self, name: str, job: Job, *, once: bool = False, vital: bool = False) -> None:
        """Run ``job`` as a task the daemon owns and cancels before this plugin closes.

        A job that ends, by raising or returning, is logged and started again after a pause that grows; until it runs
        well again the plugin has a fault (see `fault`). ``once``: the job may return, and is not started again then.
        ``vital``: the daemon is useless without the job; when it ends, the daemon ends with one line and exit code 1.

        Raises:
            MisusedPlugin: ``job`` is a coroutine and no function.
        """
        given: object = job
        if isinstance(given, Coroutine):
            given.close()
            raise MisusedPlugin(f"background job {name}: pass the function, not the coroutine that it returned")
        self.daemon.run_in_background(self.uri, name, job, once=once, vital=vital)

    def fault(self, cause: str, words: str, *, vital: bool = False) -> None:
        """Set the fault ``cause`` of this plugin to ``words``; empty ``words``: it works again. Loop thread only.

        Meanwhile the services of this plugin, and of those that require it, are NOT_SERVING in health, and ``plugins
        ls`` shows the words. ``vital``: the whole daemon is NOT_SERVING, and systemd's watchdog is not fed.
        """
        self.daemon.fault(self.uri, cause, words, vital=vital)

    def grpc_channel(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> grpc.aio.Channel:
        """Return a channel to another server; without ``credentials`` in plaintext.

        A call over it carries the namespace and the trace of the call that is being handled. Close it, or use it as
        ``async with``.
        """
        return self.daemon.grpc_channel(target, credentials, options)

    def ttrpc_client(self, target: str) -> ttrpc.Client:
        """Return a client of the ttrpc server at a unix address; its calls carry what those of `grpc_channel` do."""
        return self.daemon.ttrpc_client(target)

    def on_reload(self, callback: Callable[[ConfigT], None]) -> Callable[[], None]:
        """Call ``callback`` with the newly decoded config after SIGHUP or a changed file, if it is not the one in
        force.

        ``callback`` raises `ConfigError` to refuse: then every plugin keeps its config. Call the returned function when
        something else changed what is in force: the next reload then calls ``callback`` even if the config is the same.
        """
        return self.daemon.call_on_reload(self.uri, callback)


def _made(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
