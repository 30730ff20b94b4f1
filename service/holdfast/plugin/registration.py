"""Registration of a plugin, before anything runs: its kind, its id, its requirements, its configuration.

The daemon collects registrations from ``holdfast.plugins.SHIPPED`` and from the entry points of group
``holdfast.plugins``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from holdfast.config import ConfigMigration, Remark, Settings
from holdfast.failure import sentence

T_co = TypeVar("T_co", covariant=True)


class Kind(Struct, Generic[T_co], frozen=True):
    """A plugin type's URI (``io.containerd.event.v1``) that carries the Python type of its instances."""

    uri: str


#: Alone in ``requires``: every other plugin comes first.
EVERYTHING: Kind[Any] = Kind("*")

#: Remarks of a plugin on its decoded config: warnings for ``holdfast config check`` and the daemon's log, and faults.
Remarks = Callable[[Any], Iterable[Remark]]


class Endpoint(Struct, frozen=True):
    """An address that a server listens on: an absolute path of a unix socket, or ``host:port``.

    ``name`` is the listener's in metrics, ``purpose`` the one in errors and logs, as in ``failed to get listener for
    PURPOSE``. ``uid`` and ``gid`` own a unix socket; -1 is the daemon's own. ``credentials`` (grpc.ServerCredentials)
    are for a gRPC server over TCP. ``optional``: the configuration does not name the address, so if it is
    taken, or is none of this machine's, the daemon starts without the server.
    """

    name: str
    purpose: str
    address: str
    uid: int = -1
    gid: int = -1
    credentials: Any = None
    optional: bool = False

    @property
    def is_unix(self) -> bool:
        """Whether the address is a unix socket's path."""
        return self.address.startswith("/")


#: Endpoints of a server, from the daemon's settings and its own decoded config. They are checked before any plugin
#: starts, and BootError ends the boot there.
Endpoints = Callable[[Settings, Any], Iterable[Endpoint]]


class Registration(Struct, frozen=True):
    """One plugin, not yet started.

    ``services`` names the gRPC or ttrpc services it will offer: health uses it, and the answer to a call of a service
    whose plugin failed. ``remarks`` returns warnings and faults of a decoded ``config``. ``config_migration`` receives
    the version of an older containerd file and the plugin's section of it, and returns the section as ``config`` is
    today; it raises `ConfigError` to refuse. ``origin`` is where the plugin
    was defined, for the message about a duplicate; ``distribution`` is name and version of the package that brings it.
    ``endpoints`` returns where a server listens.
    """

    kind: Kind[Any]
    id: str
    init: Callable[[Any], AsyncIterator[Any]]
    requires: tuple[Kind[Any], ...] = ()
    config: type[msgspec.Struct] | None = None
    services: tuple[str, ...] = ()
    origin: str = ""
    remarks: Remarks | None = None
    distribution: str = ""
    endpoints: Endpoints | None = None
    config_migration: ConfigMigration | None = None

    @property
    def uri(self) -> str:
        """``<kind>.<id>``, the name used in the configuration, in logs and as the directory below root."""
        return f"{self.kind.uri}.{self.id}"

    def remarks_on(self, config: Any) -> list[Remark]:
        """The plugin's remarks on a decoded config; an error in the check itself becomes a warning."""
        if self.remarks is None:
            return []
        try:
            return list(self.remarks(config))
        except (Exception, SystemExit) as error:  # an author's code; the configuration may be good all the same
            return [Remark((), f"the plugin's own check failed: {sentence(error)}")]
