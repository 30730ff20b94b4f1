"""Target of ``register_grpc``: it takes the generated registration and keeps each method wrapped, in one table.

grpc.aio pays for every *registered* method on every call (60 methods: +50 µs), so the generated function's registered
handlers are dropped and one generic handler looks names up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc

from holdfast.errors import MisusedPlugin, ServedAlready, Unimplemented
from holdfast.rpc.layer import Authorize, InterceptorLayer
from holdfast.rpc.status import STATUS_CODES, shortened

#: Returns why a service is not served if its plugin did not start; None if no such plugin offers it.
WhyAbsent = Callable[[str], str | None]
#: Returns a method's check of its caller on this listener; None when any caller may call it.
Policy = Callable[[str], Authorize | None]


class GrpcRegistrar(grpc.GenericRpcHandler):
    """Stand-in for a grpc.aio.Server at registration, and the server's one generic handler afterwards."""

    def __init__(self, layer: InterceptorLayer, why_absent: WhyAbsent, policy: Policy | None = None) -> None:
        self._layer, self._why_absent, self._policy = layer, why_absent, policy
        self._methods: dict[str, Any] = {}
        self._services: list[str] = []

    @property
    def services(self) -> tuple[str, ...]:
        """The services registered, in order."""
        return tuple(self._services)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Do nothing, for the reason in the module's text; generated code calls it after `add_generic_rpc_handlers`."""

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """Add the handlers of one service; generated code calls this.

        Raises:
            ServedAlready: the service is served already.
            MisusedPlugin: a handler that cannot be wrapped.
        """
        for generic in handlers:
            # grpc.method_handlers_generic_handler keeps its full names in this attribute; there is no public way.
            methods = getattr(generic, "_method_handlers", None)
            if methods is None:
                raise MisusedPlugin(f"{type(generic).__name__}: use grpc.method_handlers_generic_handler")
            self.add_methods(generic.service_name(), dict(methods))

    def add_methods(self, service: str, methods: dict[str, Any], *, wrapped: bool = True) -> None:
        """Serve ``methods`` by full name as ``service``; unwrapped ones (health) are neither counted nor traced.

        Raises:
            ServedAlready, MisusedPlugin: see `add_generic_rpc_handlers`.
        """
        if service in self._services:
            raise ServedAlready(service, f"service {service}")
        if wrapped:
            policy = self._policy or _anyone
            methods = {name: self._layer.wrap(name, handler, policy(name)) for name, handler in methods.items()}
        self._methods.update(methods)  # all of a service, or none
        self._services.append(service)

    def withdraw(self, service: str) -> None:
        """Serve ``service`` no more."""
        self._services.remove(service)
        self._methods = {
            name: handler for name, handler in self._methods.items() if name.rpartition("/")[0] != f"/{service}"
        }

    def only(self, services: Iterable[str], why: str = "") -> GrpcRegistrar:
        """Return a handler for these of the services registered so far; ``why`` says to callers why not the others."""
        wanted = [service for service in services if service in self._services]
        words = why or f"this listener serves {' and '.join(wanted) or 'nothing'} alone"
        chosen = GrpcRegistrar(self._layer, lambda _: words)
        chosen._services = wanted
        chosen._methods = {
            name: handler for name, handler in self._methods.items() if name[1:].rpartition("/")[0] in wanted
        }
        return chosen

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of one call; gRPC calls this."""
        handler = self._methods.get(handler_call_details.method)
        return handler if handler is not None else self._unknown(handler_call_details.method)

    def _unknown(self, full_method: str) -> Any:
        words = shortened(self._absence(full_method))

        async def refuse(_: Any, context: Any) -> None:
            await context.abort(STATUS_CODES[Unimplemented.code], words)

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _absence(self, full_method: str) -> str:
        service, slash, method = full_method.removeprefix("/").rpartition("/")
        if not slash:
            return f'malformed method name: "{full_method}"'
        if service in self._services:
            return f"unknown method {method} for service {service}"
        reason = self._why_absent(service)
        return f"unknown service {service}" + (f" ({reason})" if reason else "")


def _anyone(_: str) -> None:
    return None
