"""The event exchange: publish without waiting, subscribe with filters, never let a slow reader hold anybody up.

Open ``envelope`` for what an event is, ``subscription`` for the queue of one reader, ``exchange`` for both ends.
"""

from holdfast.events.envelope import Event
from holdfast.events.exchange import Exchange
from holdfast.events.subscription import Limits, Subscription

__all__ = ["Event", "Exchange", "Limits", "Subscription"]
