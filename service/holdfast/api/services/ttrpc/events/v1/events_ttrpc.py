"""Generated from holdfast/api/services/ttrpc/events/v1/events.proto by protoc-gen-ttrpc-python: change the .proto."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import empty_pb2 as google_protobuf_empty_pb2
from holdfast.api.services.ttrpc.events.v1 import events_pb2 as holdfast_api_services_ttrpc_events_v1_events_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast import ttrpc as ttrpc


class EventsServicer:
    """The methods of containerd.services.events.ttrpc.v1.Events; override those you serve."""

    async def Forward(self, request: holdfast_api_services_ttrpc_events_v1_events_pb2.ForwardRequest, call: ttrpc.ServerCall) -> google_protobuf_empty_pb2.Empty:
        """Not served unless overridden."""
        raise NotImplementedError("method Forward")


def add_EventsServicer_to_server(servicer: EventsServicer, server: ttrpc.Registrar) -> None:
    """Serve containerd.services.events.ttrpc.v1.Events with ``servicer``."""
    server.register(
        "containerd.services.events.ttrpc.v1.Events",
        {
            "Forward": (servicer.Forward, holdfast_api_services_ttrpc_events_v1_events_pb2.ForwardRequest, google_protobuf_empty_pb2.Empty, False, False),
        },
    )


class EventsStub:
    """containerd.services.events.ttrpc.v1.Events as its clients call it."""

    def __init__(self, client: ttrpc.Client) -> None:
        self.Forward: ttrpc.UnaryMethod[holdfast_api_services_ttrpc_events_v1_events_pb2.ForwardRequest, google_protobuf_empty_pb2.Empty] = client.unary(
            "containerd.services.events.ttrpc.v1.Events", "Forward", holdfast_api_services_ttrpc_events_v1_events_pb2.ForwardRequest, google_protobuf_empty_pb2.Empty
        )
