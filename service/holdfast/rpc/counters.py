"""go-grpc-prometheus's metrics, with exactly its names and labels, from plain slots.

Every method and code exists at zero from its registration, unless zero series are off, so that a rate is defined before
the first error. One `MethodCounters` belongs to one method on all transports; its attributes are added to on the loop's
thread and read only at scrape. Source: github.com/grpc-ecosystem/go-grpc-prometheus, README "Metrics".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable

from msgspec import Struct

from holdfast.errors import Code
from holdfast.metrics import Distribution, Printable, Registry, text
from holdfast.metrics.family import SECONDS

#: Go's spelling of each code, by its number.
GO_CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
    "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip


class MethodType(enum.StrEnum):
    """``grpc_type``: which of client and server stream."""

    UNARY = "unary"
    CLIENT_STREAM = "client_stream"
    SERVER_STREAM = "server_stream"
    BIDI_STREAM = "bidi_stream"

    @classmethod
    def of(cls, client_streams: bool, server_streams: bool) -> MethodType:
        """The type of a method, from which sides stream."""
        return (
            (cls.BIDI_STREAM if server_streams else cls.CLIENT_STREAM)
            if client_streams
            else (cls.SERVER_STREAM if server_streams else cls.UNARY)
        )


class MethodCounters:
    """Counters of one method. ``seconds`` is None unless the histogram is on."""

    __slots__ = ("handled", "labels", "received", "seconds", "sent", "started", "words")

    def __init__(self, service: str, method: str, kind: MethodType, histogram: bool) -> None:
        self.labels = {"grpc_method": method, "grpc_service": service, "grpc_type": str(kind)}
        self.words = text.pairs(self.labels.items())
        self.started = 0
        self.received = 0
        self.sent = 0
        self.handled = [0] * len(Code)
        self.seconds = Distribution(SECONDS) if histogram else None


class Counters:
    """Counters of every method of the daemon, on all transports.

    Without ``zero_series`` a method is left out of a scrape until its first call.
    """

    def __init__(self, *, histogram: bool = False, zero_series: bool = True) -> None:
        self.histogram, self._zero_series = histogram, zero_series
        self._methods: dict[str, MethodCounters] = {}

    def method(self, full_method: str, kind: MethodType) -> MethodCounters:
        """The counters of ``/service/method``; the same ones for every listener it is registered on."""
        counters = self._methods.get(full_method)
        if counters is None:
            service, _, method = full_method.removeprefix("/").rpartition("/")
            counters = self._methods[full_method] = MethodCounters(service, method, kind, self.histogram)
        return counters

    def families(self) -> list[Printable]:
        """The metrics of these counters, for a registry."""
        methods = self._methods.values if self._zero_series else self._called
        slots: list[Printable] = [_Slot(*row, methods) for row in _SLOTS]
        slots.append(_Handled(methods))
        if self.histogram:
            slots.append(_Seconds(methods))
        return slots

    def _called(self) -> list[MethodCounters]:
        return [method for method in self._methods.values() if method.started]

    def add_to(self, registry: Registry) -> None:
        """Add the metrics to a registry."""
        registry.add(*self.families())


Methods = Callable[[], Iterable[MethodCounters]]
#: Families of one number a method: name, go-grpc-prometheus's help line, the number.
_SLOTS: tuple[tuple[str, str, Callable[[MethodCounters], int]], ...] = (
    ("grpc_server_started_total", "Total number of RPCs started on the server.", lambda method: method.started),
    (
        "grpc_server_msg_received_total",
        "Total number of RPC stream messages received on the server.",
        lambda method: method.received,
    ),
    (
        "grpc_server_msg_sent_total",
        "Total number of gRPC stream messages sent by the server.",
        lambda method: method.sent,
    ),
)


class _Slot(Struct, frozen=True):
    name: str
    help_text: str
    read: Callable[[MethodCounters], int]
    methods: Methods
    kind: str = "counter"

    def write(self, lines: list[str]) -> None:
        name, read = self.name, self.read
        lines += [f"{name}{{{method.words}}} {read(method)}\n" for method in self.methods()]


class _Handled(Struct, frozen=True):
    methods: Methods
    name: str = "grpc_server_handled_total"
    help_text: str = "Total number of RPCs completed on the server, regardless of success or failure."
    kind: str = "counter"

    def write(self, lines: list[str]) -> None:
        heads = [f'{self.name}{{grpc_code="{code}",' for code in GO_CODES]
        for method in self.methods():
            tail = f"{method.words}}} "
            lines += [f"{head}{tail}{count}\n" for head, count in zip(heads, method.handled, strict=True)]


class _Seconds(Struct, frozen=True):
    methods: Methods
    name: str = "grpc_server_handling_seconds"
    help_text: str = (
        "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server."
    )
    kind: str = "histogram"

    def write(self, lines: list[str]) -> None:
        self._write(lines, openmetrics=False)

    def write_openmetrics(self, lines: list[str]) -> None:
        self._write(lines, openmetrics=True)

    def _write(self, lines: list[str], *, openmetrics: bool) -> None:
        for method in self.methods():
            if method.seconds is not None:
                method.seconds.write(self.name, method.words, lines, openmetrics=openmetrics)
