import asyncio
import logging

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp
from holdfast import namespaces
from holdfast.api.events.task_pb2 import TaskOOM
from holdfast.api.types.event_pb2 import Envelope
from holdfast.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from holdfast.events import Exchange, QueueLimits
from holdfast.metrics import Registry

NOW = 1_700_000_000_123_456_789


def exchange(**keywords):
    return Exchange(clock=lambda: NOW, **keywords)


def forwarded(topic="/tasks/oom", **fields):
    return Envelope(**{"namespace": "k8s.io", "topic": topic, "timestamp": Timestamp(seconds=5), **fields})


def counted(made):
    registry = Registry()
    registry.add(*made.families)
    return dict(line.rsplit(" ", 1) for line in registry.text().decode().splitlines() if not line.startswith("#"))


async def test_publish_stamps_the_event_with_now_and_the_callers_namespace():
    made = exchange()
    with made.subscribe() as reading, namespaces.inside("default"):
        made.publish("/tasks/oom", TaskOOM(container_id="c1"))
        sent = (await anext(reading)).envelope
    assert (sent.namespace, sent.topic, sent.timestamp.ToNanoseconds()) == ("default", "/tasks/oom", NOW)
    assert (sent.event.type_url, TaskOOM.FromString(sent.event.value).container_id) == (
        "containerd.events.TaskOOM",
        "c1",
    )


async def test_a_plugin_names_the_namespace_itself():
    made = exchange()
    with made.subscribe() as reading:
        made.publish("/oom/kill", Any(type_url="x"), namespace="k8s.io")
        assert (await anext(reading)).envelope.namespace == "k8s.io"


@pytest.mark.parametrize(
    ("namespace", "topic", "kind", "error"),
    [
        (None, "/a", FailedPrecondition, "failed publishing event: namespace is required: failed precondition"),
        ("", "/a", FailedPrecondition, "failed publishing event: namespace is required: failed precondition"),
        (
            "b d",
            "/a",
            InvalidArgument,
            'failed publishing event: namespace validation: identifier "b d" must match '
            "^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument",
        ),
        ("n", "", InvalidArgument, 'envelope topic "": must not be empty: invalid argument'),
        ("n", "my", InvalidArgument, "envelope topic \"my\": must start with '/': invalid argument"),
        ("n", "/", InvalidArgument, 'envelope topic "/": must have at least one component: invalid argument'),
        (
            "n",
            "/a//b",
            InvalidArgument,
            'envelope topic "/a//b": failed validation on component "": identifier must not be empty: invalid argument',
        ),
    ],
)
async def test_publish_refuses_in_containerds_words(namespace, topic, kind, error):
    made = exchange()
    with made.subscribe() as reading, pytest.raises(kind) as refused:
        made.publish(topic, Any(), namespace=namespace)
    assert (str(refused.value), len(reading)) == (error, 0)


async def test_forward_sends_the_envelope_as_it_is():
    made = exchange()
    with made.subscribe() as reading:
        made.forward(forwarded())
        assert (await anext(reading)).envelope == forwarded()


@pytest.mark.parametrize(
    ("envelope", "error"),
    [
        (Envelope(), "event envelope has invalid namespace: identifier must not be empty: invalid argument"),
        (Envelope(namespace="n"), 'envelope topic "": must not be empty: invalid argument'),
        (Envelope(namespace="n", topic="/a"), "timestamp must be set on forwarded event: invalid argument"),
        (
            forwarded(timestamp=Timestamp(seconds=-62135596800)),
            "timestamp must be set on forwarded event: invalid argument",
        ),
    ],
)
async def test_forward_refuses_in_containerds_words(envelope, error):
    with pytest.raises(InvalidArgument) as refused:
        exchange().forward(envelope)
    assert str(refused.value) == error


async def test_an_event_reaches_the_subscribers_any_of_whose_filters_match():
    made = exchange()
    with (
        made.subscribe() as everything,
        made.subscribe(['topic=="/a"', "event.container_id==c1"]) as either,
        made.subscribe(['topic=="/a",namespace==other']) as neither,
    ):
        made.forward(forwarded("/a"))
        made.publish("/b", TaskOOM(container_id="c1"), namespace="n")
        made.publish("/b", TaskOOM(container_id="c2"), namespace="n")
        assert (len(everything), len(either), len(neither)) == (3, 2, 0)


async def test_a_broken_filter_is_refused_with_its_place():
    made = exchange()
    with pytest.raises(InvalidArgument) as refused:
        made.subscribe(['topic=="/a"', "bad=="])
    assert str(refused.value) == (
        "subscription error: failed parsing subscription filters: "
        "filters: parse error: [bad==]: expected value or quoted: invalid argument"
    )
    assert counted(made)["holdfast_events_subscribers"] == "0"


async def test_a_blocked_subscriber_is_dropped_and_the_others_miss_nothing():
    made = exchange(limits=QueueLimits(events=10))
    readers = [made.subscribe() for _ in range(99)]
    blocked = made.subscribe()
    for number in range(1000):
        made.publish(f"/n/{number}", Any(), namespace="n")
        for reading in readers:
            assert (await anext(reading)).envelope.topic == f"/n/{number}"
    with pytest.raises(ResourceExhausted):
        await anext(blocked)
    assert counted(made) == {
        'holdfast_events_total{origin="publish"}': "1000",
        'holdfast_events_total{origin="forward"}': "0",
        "holdfast_events_queued_total": str(99 * 1000 + 10),
        'holdfast_events_subscribers_dropped_total{limit="events"}': "1",
        'holdfast_events_subscribers_dropped_total{limit="bytes"}': "0",
        "holdfast_events_subscribers": "99",
    }


async def test_a_subscription_closed_while_an_event_is_handed_out_does_not_get_it():
    made = exchange(limits=QueueLimits(events=1))
    slow, other = made.subscribe(), made.subscribe()
    slow.on_drop(other.close)
    made.publish("/a", Any(), namespace="n")
    await anext(other)
    made.publish("/b", Any(), namespace="n")
    with pytest.raises(StopAsyncIteration):
        await anext(other)
    assert counted(made)["holdfast_events_subscribers"] == "0"


async def test_all_subscribers_get_the_same_bytes():
    made = exchange()
    with made.subscribe() as one, made.subscribe() as two:
        made.forward(forwarded())
        assert (await anext(one)).wire is (await anext(two)).wire


async def test_each_event_is_logged_at_debug_with_namespace_topic_and_type(caplog):
    caplog.set_level(logging.DEBUG)
    made = exchange()
    made.publish("/tasks/oom", TaskOOM(), namespace="n")
    made.forward(forwarded())
    assert [(record.levelname, record.message, record.fields) for record in caplog.records] == [
        ("DEBUG", "event published", {"ns": "n", "topic": "/tasks/oom", "type": "containerd.events.TaskOOM"}),
        ("DEBUG", "event forwarded", {"ns": "k8s.io", "topic": "/tasks/oom", "type": ""}),
    ]


async def test_a_dropped_subscriber_is_a_warning_with_the_limit(caplog):
    made = exchange(limits=QueueLimits(events=1))
    slow = made.subscribe()
    for _ in range(2):
        made.publish("/a", Any(), namespace="n")
    warning = caplog.records[-1]
    assert (warning.levelname, warning.message, warning.fields) == (
        "WARNING",
        "event subscriber dropped",
        {"limit": "events", "error": slow.ended_by},
    )


async def test_publishing_never_waits_for_a_reader():
    made = exchange()
    reading = made.subscribe()
    waiting = asyncio.ensure_future(anext(reading))
    for number in range(1000):
        made.publish(f"/n/{number}", Any(), namespace="n")
    assert not waiting.done()  # nobody else ran in between
    assert (await waiting).envelope.topic == "/n/0"
