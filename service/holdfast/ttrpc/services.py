"""A server's services and their methods, and the resolution of a request to a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from holdfast.errors import Code, FailedPrecondition, ServedAlready
from holdfast.ttrpc import envelope
from holdfast.ttrpc.server_connection import CallRefused
from holdfast.ttrpc.streams import Kind

#: ``async (request, call) -> reply``, ``(request, call) -> async iterator of replies``, and the same two with an async
#: iterator of requests: the four shapes grpc.aio's servicers have.
Handler = Callable[[Any, Any], Any]


class Message(Protocol):
    """Interface of a request or reply; protobuf's messages have it."""

    @classmethod
    def FromString(cls, data: bytes, /) -> Any:  # noqa: N802
        """Parse, or raise google.protobuf.message.DecodeError."""

    def SerializeToString(self) -> bytes:  # noqa: N802
        """The wire form."""


class Interceptor(Protocol):
    """Wrap each handler once, when its service is registered; the returned handler serves every call."""

    def __call__(self, full_method: str, kind: Kind, handler: Handler, /) -> Handler:
        """``full_method`` is ``/service/method``. Return ``handler`` itself to change nothing."""


class Method(NamedTuple):
    """One registered method; a plain tuple of these items is accepted, so that stubs need not import this package."""

    handler: Handler
    request_type: Any
    response_type: Any
    client_streaming: bool = False
    server_streaming: bool = False

    @property
    def kind(self) -> Kind:
        """The shape, from the two flags."""
        if self.client_streaming:
            return Kind.BIDI_STREAM if self.server_streaming else Kind.CLIENT_STREAM
        return Kind.SERVER_STREAM if self.server_streaming else Kind.UNARY


MethodLike = Method | tuple[Handler, Any, Any, bool, bool]


class Registrar(Protocol):
    """The part of a server that generated ``add_…_to_server`` functions need."""

    def register(self, service: str, methods: Mapping[str, MethodLike], /) -> None:
        """Serve ``methods`` as ``service``."""


class BoundMethod:
    """A registered method, wrapped and ready to be called."""

    __slots__ = ("full_method", "handler", "kind", "parse", "response_type")

    def __init__(self, full_method: str, method: Method, interceptors: Iterable[Interceptor]) -> None:
        self.full_method = full_method
        self.kind = method.kind
        self.parse: Callable[[bytes], Any] = method.request_type.FromString
        self.response_type = method.response_type
        handler = method.handler
        for wrap in reversed(tuple(interceptors)):  # the first one is outermost
            handler = wrap(full_method, self.kind, handler)
        self.handler = handler


class Services:
    """All services of a server, by name."""

    def __init__(self, interceptors: Iterable[Interceptor] = ()) -> None:
        self._interceptors = tuple(interceptors)
        self._services: dict[str, dict[str, BoundMethod]] = {}

    def register(self, service: str, methods: Mapping[str, MethodLike]) -> None:
        """Serve ``methods`` (by name) as ``service``.

        Raises:
            ServedAlready: the service is registered.
            FailedPrecondition: the service or a method has no name.
        """
        if not service or not all(methods):
            raise FailedPrecondition(f"ttrpc: a service and its methods need names: {service!r} {sorted(methods)}")
        if service in self._services:
            raise ServedAlready(service, f"ttrpc: duplicate service {service} registered")
        self._services[service] = {
            name: BoundMethod(f"/{service}/{name}", Method(*method), self._interceptors)
            for name, method in methods.items()
        }

    def withdraw(self, service: str) -> None:
        """Serve ``service`` no more."""
        del self._services[service]

    def methods(self) -> Iterable[tuple[str, Kind]]:
        """Yield every full method and its kind, for counters that must exist before the first call."""
        for service in self._services.values():
            for method in service.values():
                yield method.full_method, method.kind

    def names(self) -> tuple[str, ...]:
        """The names of the registered services."""
        return tuple(self._services)

    def resolve(self, data: bytes) -> tuple[BoundMethod, envelope.Parts]:
        """Return the method that a request names, and the rest of the request.

        Raises:
            Refused: no service has the method.
            PeerBrokeProtocol: the bytes are no request.
        """
        service_name, method_name, parts = envelope.decode_request(data)
        service = self._services.get(service_name)
        if service is None:
            raise CallRefused(Code.UNIMPLEMENTED, f"service {service_name}")
        method = service.get(method_name)
        if method is None:
            raise CallRefused(Code.UNIMPLEMENTED, f"method {method_name}")
        return method, parts
