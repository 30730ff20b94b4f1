"""The event exchange: publish without waiting, subscribe with filters; a slow reader delays no publisher.

- `envelope`: one event
- `exchange`: publishes, forwards and subscribes
- `subscription`: the queue of one reader
"""

from holdfast.events.envelope import Event
from holdfast.events.exchange import Exchange
from holdfast.events.subscription import QueueLimits, Subscription

__all__ = ["Event", "Exchange", "QueueLimits", "Subscription"]
