"""The event exchange as a plugin, and containerd's events services over gRPC and ttrpc."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Protocol

import grpc
import msgspec
from google.protobuf.empty_pb2 import Empty

from holdfast.api.services.events.v1.events_pb2 import ForwardRequest, PublishRequest, SubscribeRequest
from holdfast.api.services.ttrpc.events.v1 import events_ttrpc
from holdfast.api.types.event_pb2 import Envelope
from holdfast.config.quantity import Bytes
from holdfast.events import Exchange, QueueLimits
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import EVENTS, GRPC

_SERVICE = "containerd.services.events.v1.Events"
_TTRPC_SERVICE = "containerd.services.events.ttrpc.v1.Events"


class ExchangeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The backlog above which a subscriber is dropped."""

    queue_events: Annotated[
        int, msgspec.Meta(ge=1, le=1_000_000, description="events that may wait for one subscriber")
    ] = QueueLimits().events
    queue_size: Annotated[Bytes, msgspec.Meta(ge=1, description="bytes of events that may wait for one subscriber")] = (
        QueueLimits().size
    )


class Forwarded(Protocol):
    """A ForwardRequest of either service: they have the same shape and different names."""

    envelope: Envelope


class Events(events_ttrpc.EventsServicer):
    """Publish, Forward and Subscribe over gRPC; Forward, as shims call it, over ttrpc too."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def Publish(self, request: PublishRequest, context: object) -> Empty:  # noqa: N802
        """Stamp the event with the time and the caller's namespace, and send it."""
        self._exchange.publish(request.topic, request.event)
        return Empty()

    async def Forward(self, request: Forwarded, context: object) -> Empty:  # noqa: N802
        """Send the event unchanged."""
        self._exchange.forward(request.envelope)
        return Empty()

    async def Subscribe(self, request: SubscribeRequest, context: Any) -> None:  # noqa: N802
        """Stream the matching events until the client leaves, or is dropped because it reads too slowly.

        The initial metadata is sent as soon as no event can be missed, for clients that need to know.
        """
        with self._exchange.subscribe(request.filters) as subscription:
            task = asyncio.current_task()
            assert task is not None
            subscription.on_drop(task.cancel)  # a slow reader's handler waits inside write()
            try:
                await context.send_initial_metadata(())
                async for event in subscription:
                    await context.write(event.wire)
            except asyncio.CancelledError:
                if subscription.ended_by is None:
                    raise
                task.uncancel()
                raise subscription.ended_by from None

    def register_grpc(self, registrar: Any) -> None:
        """Register the service as the generated code would, but for Subscribe, whose replies are bytes already."""
        empty = Empty.SerializeToString
        unary = grpc.unary_unary_rpc_method_handler
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Publish": unary(self.Publish, PublishRequest.FromString, empty),
            "Forward": unary(self.Forward, ForwardRequest.FromString, empty),
            "Subscribe": grpc.unary_stream_rpc_method_handler(self.Subscribe, SubscribeRequest.FromString),
        }
        registrar.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        registrar.add_registered_method_handlers(_SERVICE, handlers)

    register_tcp = register_grpc

    def register_ttrpc(self, registrar: Any) -> None:
        """Register Forward, for shims."""
        events_ttrpc.add_EventsServicer_to_server(self, registrar)


@plugin(EVENTS, "exchange", config=ExchangeConfig)
async def exchange(context: InitContext) -> AsyncIterator[Exchange]:
    """The daemon's one exchange, with its counters on the metrics page."""
    made = Exchange(QueueLimits(context.config.queue_events, context.config.queue_size))
    context.metrics.add(*made.families)
    yield made
    context.metrics.remove(*made.families)


@plugin(GRPC, "events", requires=[EVENTS], services=[_SERVICE, _TTRPC_SERVICE])
async def events(context: InitContext) -> AsyncIterator[Events]:
    """Serve the exchange over both protocols."""
    yield Events(context.single(EVENTS))
