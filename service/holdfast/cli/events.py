"""``holdfast events`` and ``holdfast publish``: both ends of the event exchange."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.options import ClientCommand, client_options
from holdfast.cli.table import as_json, plain, show
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any as Payload

    from holdfast.api.types.event_pb2 import Envelope


@click.command(cls=ClientCommand)
@click.argument("filters", metavar="[FILTER]...", nargs=-1)
@client_options
def events(client: DaemonClient, filters: tuple[str, ...]) -> None:
    """Print events of all namespaces as they happen: time, namespace, topic, event.

    A FILTER compares the fields namespace, topic and event.FIELD; a value with a slash in front is quoted:

    \b
      holdfast events 'topic~="^/placement/"'
      holdfast events 'namespace==k8s.io,topic=="/tasks/oom"' 'topic=="/oom/kill"'
      holdfast events event.container_id==c1

    Of several filters any may match. Ends with Ctrl-C, with the daemon, or when events come faster than they are
    printed (the daemon then reports it).
    """
    from holdfast.api.services.events.v1.events_pb2 import SubscribeRequest
    from holdfast.api.services.events.v1.events_pb2_grpc import EventsStub

    for envelope in client.stream(client.stub(EventsStub).Subscribe, SubscribeRequest(filters=filters)):
        if client.for_programs:
            client.print_document(described(envelope), lines=True)
        else:
            show([line(envelope)])


@click.command(cls=ClientCommand)
@click.option("--topic", required=True, help="Topic of the event: a path such as /backup/done.")
@click.option("--json", "from_json", is_flag=True, help="Read JSON instead of bytes from standard input.")
@client_options
def publish(client: DaemonClient, topic: str, from_json: bool) -> None:
    """Publish the event on standard input: a protobuf Any, as `containerd publish` takes it.

    With --json it is an Any in proto3 JSON, of a type the daemon's API has:

    \b
      echo '{"@type": "containerd.events.TaskOOM", "container_id": "c1"}' | holdfast publish --json --topic /tasks/oom
    """
    from holdfast.api.services.events.v1.events_pb2 import PublishRequest
    from holdfast.api.services.events.v1.events_pb2_grpc import EventsStub

    data = sys.stdin.buffer.read()
    payload = payload_from_json(data) if from_json else payload_from_bytes(data)
    client.ask(client.stub(EventsStub).Publish, PublishRequest(topic=topic, event=payload))


def line(envelope: Envelope) -> str:
    """Return one event as one line, the time in UTC to the nanosecond."""
    event = as_json(payload_to_json(envelope.event), lines=True) if envelope.HasField("event") else ""
    words = (envelope.timestamp.ToJsonString(), envelope.namespace, envelope.topic, event)
    return " ".join(filter(None, words))


def described(envelope: Envelope) -> dict[str, Any]:
    """The envelope in proto3 JSON, also with a payload of an unknown type."""
    return {
        "timestamp": envelope.timestamp.ToJsonString(),
        "namespace": envelope.namespace,
        "topic": envelope.topic,
        "event": payload_to_json(envelope.event),
    }


def payload_to_json(payload: Payload) -> dict[str, Any]:
    """``{"@type": …, fields}``; for an unknown type its bytes in base64 as ``value``."""
    from holdfast.events.envelope import decoded

    message = decoded(payload)
    if message is None:
        return {"@type": payload.type_url, "value": base64.b64encode(payload.value).decode()}
    return {"@type": payload.type_url, **plain(message)}


def payload_from_bytes(data: bytes) -> Payload:
    """A payload from its bytes; no bytes are the empty payload."""
    from google.protobuf.any_pb2 import Any as Payload
    from google.protobuf.message import DecodeError

    try:
        return Payload.FromString(data)
    except DecodeError as error:
        raise HoldfastError(f"stdin: {len(data)} bytes that are no protobuf Any; --json reads JSON") from error


def payload_from_json(data: bytes) -> Payload:
    """A payload from ``{"@type": …, fields}``."""
    from google.protobuf import json_format
    from google.protobuf.any_pb2 import Any as Payload

    import holdfast.events.envelope  # noqa: F401 (its import makes the event types known)

    try:
        return json_format.Parse(data, Payload())
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise HoldfastError(f"stdin: not an Any in JSON: {' '.join(str(error).split())}") from error
