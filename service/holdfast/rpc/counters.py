"""go-grpc-prometheus's families, by its names and labels exactly, from plain slots.

Every method and code exists at zero from its registration, so that a rate is defined before the first error. One
`MethodCounters` belongs to one method on whatever transport; its attributes are added to on the loop's thread and
read only at scrape. Source: github.com/grpc-ecosystem/go-grpc-prometheus, README "Metrics".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from holdfast.errors import Code
from holdfast.metrics import Distribution, Registry, Sample
from holdfast.metrics.family import SECONDS

#: Go's spelling of each code, by its number.
GO_CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
    "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip


class MethodType(enum.StrEnum):
    """``grpc_type``: which side streams."""

    UNARY = "unary"
    CLIENT_STREAM = "client_stream"
    SERVER_STREAM = "server_stream"
    BIDI_STREAM = "bidi_stream"

    @classmethod
    def of(cls, client_streams: bool, server_streams: bool) -> MethodType:
        """The type of a method by who streams."""
        return (
            (cls.BIDI_STREAM if server_streams else cls.CLIENT_STREAM)
            if client_streams
            else (cls.SERVER_STREAM if server_streams else cls.UNARY)
        )


class MethodCounters:
    """What is counted of one method. ``seconds`` is None unless the histogram is on."""

    __slots__ = ("handled", "labels", "received", "seconds", "sent", "started")

    def __init__(self, service: str, method: str, kind: MethodType, histogram: bool) -> None:
        self.labels = {"grpc_method": method, "grpc_service": service, "grpc_type": str(kind)}
        self.started = 0
        self.received = 0
        self.sent = 0
        self.handled = [0] * len(Code)
        self.seconds = Distribution(SECONDS) if histogram else None


class Counters:
    """The counters of every method of the daemon."""

    def __init__(self, *, histogram: bool = False) -> None:
        self.histogram = histogram
        self._methods: dict[str, MethodCounters] = {}

    def method(self, full_method: str, kind: MethodType) -> MethodCounters:
        """The counters of ``/service/method``; the same ones for every listener it is registered on."""
        counters = self._methods.get(full_method)
        if counters is None:
            service, _, method = full_method.removeprefix("/").rpartition("/")
            counters = self._methods[full_method] = MethodCounters(service, method, kind, self.histogram)
        return counters

    def add_to(self, registry: Registry) -> None:
        """Have a registry print them."""
        registry.add(*self._families())

    def _families(self) -> Iterator[_View]:
        yield _View(
            "grpc_server_started_total",
            "Total number of RPCs started on the server.",
            "counter",
            lambda: self._plain("started"),
        )
        yield _View(
            "grpc_server_handled_total",
            "Total number of RPCs completed on the server, regardless of success or failure.",
            "counter",
            self._by_code,
        )
        yield _View(
            "grpc_server_msg_received_total",
            "Total number of RPC stream messages received on the server.",
            "counter",
            lambda: self._plain("received"),
        )
        yield _View(
            "grpc_server_msg_sent_total",
            "Total number of gRPC stream messages sent by the server.",
            "counter",
            lambda: self._plain("sent"),
        )
        if self.histogram:
            yield _View(
                "grpc_server_handling_seconds",
                "Histogram of response latency (seconds) of gRPC that had been application-level handled"
                " by the server.",
                "histogram",
                self._seconds,
            )

    def _plain(self, slot: str) -> Iterator[Sample]:
        for method in self._methods.values():
            yield Sample("", method.labels, getattr(method, slot))

    def _by_code(self) -> Iterator[Sample]:
        for method in self._methods.values():
            for name, count in zip(GO_CODES, method.handled, strict=True):
                yield Sample("", {"grpc_code": name, **method.labels}, count)

    def _seconds(self) -> Iterator[Sample]:
        for method in self._methods.values():
            if method.seconds is not None:
                yield from method.seconds.samples(method.labels)


@dataclass(frozen=True, slots=True)
class _View:
    """One family over the slots."""

    name: str
    help_text: str
    kind: str
    read: Callable[[], Iterable[Sample]]

    def samples(self) -> Iterable[Sample]:
        return self.read()
