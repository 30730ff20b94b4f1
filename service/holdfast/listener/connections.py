"""Bounded table of one listener's connections: when it is full, a new connection replaces an older one.

A new connection over its peer's bound closes the connection of this peer that was quiet for the longest; over the
listener's bound, the quietest connection of the peer that has the most. A peer that keeps many connections therefore
loses them to its own newer ones, and never takes those of another peer. If the new connection were refused instead, the
first flood would keep all other peers out; only a peer that connects faster than its connections can be of use is
refused (`KEPT_S`). Connections closed at a limit are counted, and logged once a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from time import monotonic

from holdfast import log
from holdfast.listener.descriptors import ConnectionBound
from holdfast.metrics import Counter, Gauge

LOG = log.named(__name__)
LOG_EVERY_S = 60.0
KEPT_S = 2.0  # of an HTTP listener; `front` has rounds

PEER, LISTENER, SILENT, CUT_CALLS = "peer_limit", "listener_limit", "silent", "cut_calls"


class ConnectionMetrics:
    """Metrics that all listeners share."""

    def __init__(self) -> None:
        self._tables: list[Connections] = []
        self.closed = Counter(
            "holdfast_connections_closed_total",
            "Connections closed at a limit: of one peer, of the listener, of the time to wait, or of calls cut.",
            ["listener", "reason"],
        )
        self.pauses = Counter(
            "holdfast_connection_pauses_total",
            "Reads of a connection that were put off, as its peer is beyond its share of the daemon's work.",
            ["listener"],
        )
        self.open = Gauge("holdfast_connections", "Connections that are open.", ["listener"], read=self._open)

    def add(self, table: Connections) -> None:
        """Include a table in the metrics."""
        self._tables.append(table)
        for reason in (PEER, LISTENER, SILENT, CUT_CALLS):  # from the start: the first of each is an increase, too
            self.closed.labels(table.listener, reason)
        self.pauses.labels(table.listener)

    def _open(self) -> list[tuple[tuple[str, ...], float]]:
        counts: dict[str, int] = {}
        for table in self._tables:
            counts[table.listener] = counts.get(table.listener, 0) + len(table)
        return [((listener,), count) for listener, count in counts.items()]


class TrackedConnection:
    """One connection's place in the table; ``close`` ends it."""

    __slots__ = ("_table", "active_at", "close", "peer")

    def __init__(self, table: Connections, peer: Hashable, close: Callable[[], object]) -> None:
        self._table, self.peer, self.close = table, peer, close
        self.active_at = monotonic()

    def touch(self) -> None:
        """Record activity: of its peer's connections, this one is now the last to be closed."""
        self.active_at = monotonic()
        self._table.touch(self)

    def leave(self) -> None:
        """Remove the connection, which has ended, from the table."""
        self._table.leave(self)


class Connections:
    """Table of one listener's connections. Loop thread only."""

    def __init__(
        self, listener: str, bound: ConnectionBound, metrics: ConnectionMetrics, kept_s: float = KEPT_S
    ) -> None:
        """``kept_s``: a connection that was active within this time is not closed for a new one of the same peer."""
        self.listener, self.bound, self._kept_s = listener, bound, kept_s
        self._metrics = metrics
        self._peers: dict[Hashable, dict[TrackedConnection, None]] = {}  # of each peer, the quietest first
        self._count = 0
        self._logged_at = -LOG_EVERY_S
        self._unlogged = 0
        metrics.add(self)

    def __len__(self) -> int:
        return self._count

    def admit(self, peer: Hashable, close: Callable[[], object]) -> TrackedConnection | None:
        """Return a place for a new connection, for which an older one may be closed; None if the new one must be
        closed.
        """
        crowd, reason = self._peers.get(peer, {}), PEER
        if len(crowd) < self.bound.per_peer:
            if self._count < self.bound.total:
                return self._add(peer, close)
            crowd, reason = self._peers[max(self._peers, key=self._number_of)], LISTENER
        quietest = next(iter(crowd))
        if quietest.peer == peer and monotonic() - quietest.active_at < self._kept_s:
            self.count(reason, peer)
            return None
        self.end(quietest, reason)
        return self._add(peer, close)

    def _add(self, peer: Hashable, close: Callable[[], object]) -> TrackedConnection:
        made = TrackedConnection(self, peer, close)
        self._peers.setdefault(peer, {})[made] = None
        self._count += 1
        return made

    def _number_of(self, peer: Hashable) -> int:
        return len(self._peers[peer])

    def touch(self, connection: TrackedConnection) -> None:
        """See `TrackedConnection.touch`."""
        mine = self._peers.get(connection.peer, {})
        if connection in mine:
            del mine[connection]
            mine[connection] = None

    def leave(self, connection: TrackedConnection) -> None:
        """See `TrackedConnection.leave`."""
        mine = self._peers.get(connection.peer, {})
        if connection in mine:
            del mine[connection]
            self._count -= 1
            if not mine:
                del self._peers[connection.peer]

    def end(self, connection: TrackedConnection, reason: str) -> None:
        """Close a connection because of a bound."""
        self.leave(connection)
        connection.close()
        self.count(reason, connection.peer)

    def count(self, reason: str, peer: Hashable) -> None:
        """Count and log that a peer reached a bound."""
        self._metrics.closed.inc(self.listener, reason)
        self._unlogged += 1
        now = monotonic()
        if now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            LOG.warning(
                "connections closed at a limit",
                listener=self.listener,
                reason=reason,
                peer=str(peer),
                number=self._unlogged,
            )
            self._unlogged = 0

    def paused(self) -> None:
        """Count that a read was put off."""
        self._metrics.pauses.inc(self.listener)

    def end_quiet(self, longer_than_s: float) -> None:
        """Close the connections that were quiet for longer than ``longer_than_s``."""
        before = monotonic() - longer_than_s
        for mine in list(self._peers.values()):
            for connection in list(mine):
                if connection.active_at > before:
                    break
                self.end(connection, SILENT)

    def end_all(self) -> None:
        """Close every connection: the listener closes."""
        for mine in list(self._peers.values()):
            for connection in list(mine):
                self.leave(connection)
                connection.close()
