"""Publish, forward and subscribe to events: containerd's exchange, but with bounded queues.

Everything runs on the loop's thread and never waits, so a plugin can publish anywhere with one line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from google.protobuf.message import Message

from holdfast import log, namespaces
from holdfast.api.types.event_pb2 import Envelope
from holdfast.errors import FailedPrecondition, InvalidArgument
from holdfast.events.envelope import Event, has_time, packed
from holdfast.events.subscription import QueueLimits, Subscription
from holdfast.filters import parse_all
from holdfast.identifiers import check_identifier, check_topic
from holdfast.metrics import Counter, Gauge

LOG = log.named(__name__)
_NANOSECONDS = 1_000_000_000


class Exchange:
    """Give every event to every subscription that it matches, in the order of publishing.

    ``clock`` gives nanoseconds since 1970, UTC. ``families`` are the metrics, for the creator's registry.
    """

    def __init__(self, limits: QueueLimits | None = None, clock: Callable[[], int] = time.time_ns) -> None:
        self.limits = limits or QueueLimits()
        self._clock = clock
        self._subscriptions: dict[Subscription, None] = {}  # a set that keeps the order
        published = Counter("holdfast_events_total", "Events accepted by the exchange.", ["origin"])
        self._published, self._forwarded = published.labels("publish"), published.labels("forward")
        queued = Counter("holdfast_events_queued_total", "Events put into subscribers' queues.")
        self._queued = queued.labels()
        self._dropped = Counter(
            "holdfast_events_subscribers_dropped_total",
            "Subscribers ended because they read too slowly, by the limit they reached.",
            ["limit"],
        )
        self._dropped.labels("events"), self._dropped.labels("bytes")
        current = Gauge(
            "holdfast_events_subscribers", "Subscribers now.", read=lambda: [((), len(self._subscriptions))]
        )
        self.families = (published, queued, self._dropped, current)

    @property
    def is_heard(self) -> bool:
        """Whether there is a subscription; from any thread. A publisher can skip building events when there is none."""
        return bool(self._subscriptions)

    def publish(self, topic: str, message: Message, namespace: str | None = None) -> None:
        """Send ``message`` (any protobuf message, or an ``Any`` unchanged) with the current time.

        Without ``namespace``, the calling client's is used.

        Raises:
            FailedPrecondition: no namespace.
            InvalidArgument: a namespace or topic containerd would refuse.
        """
        seconds, nanos = divmod(self._clock(), _NANOSECONDS)
        envelope = Envelope(namespace=_checked(namespace), topic=check_topic(topic), event=packed(message))
        envelope.timestamp.seconds, envelope.timestamp.nanos = seconds, nanos
        self._published.value += 1
        self._send("event published", envelope)

    def forward(self, envelope: Envelope) -> None:
        """Send an envelope unchanged: a shim's, or another daemon's.

        Raises:
            InvalidArgument: its namespace, topic or timestamp is missing or wrong.
        """
        try:
            check_identifier(envelope.namespace)
        except InvalidArgument as error:
            raise InvalidArgument(f"event envelope has invalid namespace: {error.message}") from None
        check_topic(envelope.topic)
        if not has_time(envelope):
            raise InvalidArgument("timestamp must be set on forwarded event")
        self._forwarded.value += 1
        self._send("event forwarded", envelope)

    def subscribe(self, filters: Iterable[str] = ()) -> Subscription:
        """Subscribe to all later events, in every namespace, that any of ``filters`` matches.

        Raises:
            InvalidArgument: a broken filter.
        """
        try:
            filter_ = parse_all(filters)
        except InvalidArgument as error:
            raise InvalidArgument(f"subscription error: failed parsing subscription filters: {error.message}") from None
        subscription = Subscription(filter_, self.limits, lambda ended: self._subscriptions.pop(ended, None))
        self._subscriptions[subscription] = None
        return subscription

    def _send(self, message: str, envelope: Envelope) -> None:
        event = Event(envelope)
        for subscription in tuple(self._subscriptions):  # a copy: a dropped one is removed
            if subscription.wants(event):
                if passed := subscription.offer(event):
                    self._dropped.inc(passed)
                    LOG.warning("event subscriber dropped", limit=passed, error=subscription.ended_by)
                else:
                    self._queued.value += 1
        LOG.debug(message, ns=envelope.namespace, topic=envelope.topic, type=envelope.event.type_url)


def _checked(namespace: str | None) -> str:
    try:
        if namespace is None:
            return namespaces.required()
        with namespaces.inside(namespace):
            return namespaces.required()
    except (FailedPrecondition, InvalidArgument) as error:
        raise type(error)(f"failed publishing event: {error.message}") from None
