"""The daemon's file descriptors: the soft limit is raised to the hard one, and peers may take only a part of them.

The descriptors of all listeners, plus `RESERVED` for the engine (a process takes two while it is changed, a scan one, a
store a few), do not exceed the limit. So no peer can make an open(2) of the engine fail. Only a limit so low that a
listener is left with the least, two connections (`ConnectionBound.scaled`), can be exceeded.
"""

from __future__ import annotations

import resource

from msgspec import Struct

from holdfast import log

LOG = log.named(__name__)
RESERVED = 256


class ConnectionBound(Struct, frozen=True):
    """Most connections of one listener: in all, and of one peer (an address, or the uid behind a unix socket)."""

    total: int
    per_peer: int

    def scaled(self, share: float) -> ConnectionBound:
        """The same bound, ``share`` times as large: at least two connections, so that one peer cannot take all of them.

        A bound that lets one peer take all (ttrpc's) still does.
        """
        total = max(2, int(self.total * share))
        return ConnectionBound(total, max(1, min(self.per_peer, total // 2 if self.per_peer < self.total else total)))


class Bounds(Struct, frozen=True):
    """Most connections of each listener; docs/threat-model.md says which peers they are for.

    A TCP connection costs one descriptor before its first byte and three after it (see `front`); so does a connection
    of gRPC's unix socket if users other than root may open it. All others cost one.
    """

    grpc: ConnectionBound = ConnectionBound(64, 16)
    tcp: ConnectionBound = ConnectionBound(64, 8)
    health: ConnectionBound = ConnectionBound(64, 16)
    silent: ConnectionBound = ConnectionBound(
        256, 128
    )  # of each listener with a `front`: accepted, no byte received yet
    metrics: ConnectionBound = ConnectionBound(64, 16)
    debug: ConnectionBound = ConnectionBound(16, 8)
    web: ConnectionBound = ConnectionBound(16, 8)
    other: ConnectionBound = ConnectionBound(32, 8)  # of each listener that a plugin brings
    ttrpc: ConnectionBound = ConnectionBound(1024, 1024)  # a shim keeps its connection as long as its container lives

    def of(self, listener: str) -> ConnectionBound:
        """The bound of a listener, by its name in metrics."""
        bound: ConnectionBound = getattr(self, listener) if listener in self.__struct_fields__ else self.other
        return bound

    def descriptors(self, others: int = 0) -> int:
        """The most descriptors that all listeners hold together, with ``others`` that plugins bring."""
        fronts = 3 * (self.tcp.total + self.health.total + self.grpc.total + self.silent.total)
        brought = others * (3 * self.other.total + self.silent.total)
        return fronts + self.metrics.total + self.debug.total + self.web.total + self.ttrpc.total + brought

    @classmethod
    def within(cls, limit: int, others: int = 0) -> Bounds:
        """Return the usual bounds, or proportionally smaller ones if the limit of descriptors is low."""
        usual = cls()
        wanted = usual.descriptors(others)
        if limit - RESERVED >= wanted:
            return usual
        share = max(0, limit - RESERVED) / wanted
        LOG.warning(
            "few descriptors: fewer connections are accepted; raise the hard limit of open files",
            limit=limit,
            wanted=wanted + RESERVED,
            share=f"{share:.0%}",
        )
        return cls(*(getattr(usual, name).scaled(share) for name in cls.__struct_fields__))


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one; return the limit now in force.

    Programs that use select(2) need the low soft limit that most daemons inherit; this one does not (setrlimit(2)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:  # a sandbox that forbids the call
            LOG.warning("limit of open files not raised", limit=soft, error=error)
            return soft
    return hard
