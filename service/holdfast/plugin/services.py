"""Protocols that an instance may implement, beside being looked up: the daemon calls their methods after all inits.

A plugin offers a service by having the method, as in containerd: nothing is declared twice. `SERVER` is the kind of the
plugins that listen, `METRICS` of those that measure calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from holdfast.plugin.registration import Kind


class Registrar(Protocol):
    """Parameter of `OffersGrpc.register_grpc` and `OffersTcp.register_tcp`: what generated code uses of a server."""

    def add_generic_rpc_handlers(self, handlers: Iterable[Any], /) -> None:
        """Add the handlers of a service, each of `grpc.method_handlers_generic_handler`.

        Raises:
            ServedAlready: another plugin serves the service.
            MisusedPlugin: a handler that is not ``async def``.
        """

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any], /) -> None:
        """Do nothing: generated code calls this after `add_generic_rpc_handlers`."""


class OffersGrpc(Protocol):
    """An instance that serves gRPC on the unix socket."""

    def register_grpc(self, registrar: Registrar) -> None:
        """Pass ``registrar`` to the generated ``add_…Servicer_to_server(servicer, registrar)``."""


class OffersTcp(Protocol):
    """An instance that serves gRPC on TCP. Without a grant only methods that read are open there (`rpc.auth`)."""

    def register_tcp(self, registrar: Registrar) -> None:
        """Pass ``registrar`` to the generated ``add_…Servicer_to_server(servicer, registrar)``.

        ``register_tcp = register_grpc`` in the class offers the same services on both.
        """


class PageRequest(Struct, frozen=True):
    """A request of a browser. ``query``: the parameters behind the path; ``is_private``: the listener is a unix socket,
    which only the users of its mode reach. Without it any user of the machine may have sent the request.
    """

    query: Mapping[str, str]
    is_private: bool = False


class Page(Struct, frozen=True):
    """The answer. ``policy``: directives of Content-Security-Policy beside the listener's own, which allow nothing."""

    body: bytes
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    policy: tuple[str, ...] = ()


ShowPage = Callable[[PageRequest], Awaitable[Page]]


class OffersWeb(Protocol):
    """An instance that has pages on the listener for browsers (``web.address``)."""

    def register_web(self, registrar: Any) -> None:
        """Call ``registrar.page(path, show)`` for each page.

        Raises:
            ServedAlready: another plugin has a page at the path.
        """


class OffersTtrpc(Protocol):
    """An instance that serves ttrpc on ``<address>.ttrpc``."""

    def register_ttrpc(self, registrar: Any) -> None:
        """Pass ``registrar`` (a `holdfast.ttrpc.Registrar`) to the generated ``add_…_to_server``."""


class ServiceTable(Protocol):
    """A table of services that plugins fill, as a server hands it to them."""

    @property
    def services(self) -> Iterable[str]:
        """The services registered so far."""

    def withdraw(self, service: str) -> None:
        """Serve ``service`` no more."""


class Server(Protocol):
    """An instance of a plugin of the kind `SERVER`: it opens its listeners when every plugin has started.

    Two more methods are called if the instance has them: ``async drain(grace_s)`` when the daemon ends, to answer what
    is in flight and refuse what is new, and ``async close()`` after it, before any plugin closes.
    """

    async def start(self, listening: Any) -> None:
        """Listen, by means of ``listening`` (`holdfast.listener.listening.Listening`), which closes what it opened.

        Servers start in the order of their plugins and close in reverse. BootError ends the boot.
        """


class TakesServices(Server, Protocol):
    """A server for which plugins register services by a method of their own, as ``register_tcp``."""

    #: The name of that method.
    offered_by: str

    def table(self, listening: Any) -> ServiceTable:
        """Return the table that is handed to the method, before any plugin registers."""


#: As in containerd 2.3, ``io.containerd.server.v1``.
SERVER: Kind[Server] = Kind("io.containerd.server.v1")
#: Measures of calls; `server.servers` puts them into the layer around each method.
METRICS: Kind[Any] = Kind("io.containerd.metrics.v1")
