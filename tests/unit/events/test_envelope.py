import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp
from holdfast.api.events import container_pb2, namespace_pb2, task_pb2
from holdfast.api.services.introspection.v1.introspection_pb2 import ServerResponse
from holdfast.api.types.event_pb2 import Envelope
from holdfast.events.envelope import Event, decoded, has_time, packed

EXIT = task_pb2.TaskExit(container_id="c1", pid=7, exit_status=137, exited_at=Timestamp(seconds=1))
CREATE = task_pb2.TaskCreate(container_id="c1", io=task_pb2.TaskIO(stdin="/dev/null"))
LABELLED = namespace_pb2.NamespaceCreate(name="n", labels={"a.b": "c", "empty": ""})
NESTED = container_pb2.ContainerCreate(
    id="c1",
    runtime=container_pb2.ContainerCreate.Runtime(name="runc", options=packed(task_pb2.TaskOOM(container_id="x"))),
)
ABSENT = ("", False)


def event(message):
    return Event(Envelope(namespace="ns", topic="/a/b", event=packed(message)))


@pytest.mark.parametrize(
    ("message", "path", "seen"),
    [
        (EXIT, "namespace", ("ns", True)),
        (EXIT, "topic", ("/a/b", True)),
        (EXIT, "timestamp", ABSENT),
        (EXIT, "event", ABSENT),
        (EXIT, "event.container_id", ("c1", True)),
        (EXIT, "event.id", ABSENT),
        (EXIT, "event.exit_status", ("137", True)),
        (EXIT, "event.exited_at", ABSENT),
        (EXIT, "event.nothing", ABSENT),
        (CREATE, "event.pid", ("0", True)),
        (CREATE, "event.io.stdin", ("/dev/null", True)),
        (CREATE, "event.io.terminal", ("false", True)),
        (CREATE, "event.rootfs", ABSENT),
        (EXIT, "event.io.stdin", ABSENT),
        (LABELLED, "event.labels.a.b", ("c", True)),
        (LABELLED, "event.labels.empty", ("", True)),
        (LABELLED, "event.labels.nothing", ABSENT),
        (LABELLED, "event.labels", ABSENT),
        (NESTED, "event.runtime.name", ("runc", True)),
        (NESTED, "event.runtime.options.container_id", ("x", True)),
        (container_pb2.ContainerCreate(), "event.runtime.name", ABSENT),
    ],
)
def test_a_filter_sees_namespace_topic_and_the_events_own_fields(message, path, seen):
    assert event(message).field(path.split(".")) == seen


def test_an_empty_path_and_an_empty_envelope_have_no_fields():
    empty = Event(Envelope())
    assert [empty.field(path) for path in ([], ["namespace"], ["topic"], ["event", "id"])] == [ABSENT] * 4


@pytest.mark.parametrize(
    "payload",
    [
        Any(type_url="nobody.knows.This", value=b"\x0a\x01x"),
        Any(type_url="containerd.events.TaskExit", value=b"\xff"),
        Any(),
    ],
)
def test_a_payload_of_unknown_type_or_broken_bytes_has_no_fields(payload):
    assert decoded(payload) is None
    assert event(payload).field(["event", "container_id"]) == ABSENT


def test_a_type_url_may_have_a_host_before_the_name():
    message = ServerResponse(uuid="u")
    with_host = Any()
    with_host.Pack(message)
    assert with_host.type_url.startswith("type.googleapis.com/")
    assert decoded(with_host) == message


def test_a_message_is_packed_under_its_bare_name_and_an_any_is_left_alone():
    assert packed(EXIT).type_url == "containerd.events.TaskExit"
    payload = Any(type_url="x")
    assert packed(payload) is payload


def test_an_event_is_written_to_bytes_once():
    sent = event(EXIT)
    assert sent.wire is sent.wire
    assert Envelope.FromString(sent.wire) == sent.envelope


@pytest.mark.parametrize(
    ("envelope", "has"),
    [
        (Envelope(), False),
        (Envelope(timestamp=Timestamp(seconds=-62135596800)), False),
        (Envelope(timestamp=Timestamp(seconds=-62135596800, nanos=1)), True),
        (Envelope(timestamp=Timestamp()), True),
    ],
)
def test_gos_zero_time_is_no_time_but_1970_is(envelope, has):
    assert has_time(envelope) is has
