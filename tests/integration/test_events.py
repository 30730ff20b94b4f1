"""Events through a whole daemon: our commands at both ends, and a client that never reads."""

import json

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from holdfast.api.services.events.v1.events_pb2 import PublishRequest, SubscribeRequest
from holdfast.api.services.events.v1.events_pb2_grpc import EventsStub

from tests.peers.daemon import ENVIRON, HOLDFAST, holdfast
from tests.running import PATIENCE_S, Running

NAMESPACE = (("containerd-namespace", "hf"),)
EVENT = '{"@type": "containerd.events.TaskOOM", "container_id": "c1"}'


@pytest.fixture
def daemon(short_dir):
    config = short_dir / "config.yaml"
    sections = {"io.containerd.event.v1.exchange": {"queue_events": 50, "queue_size": "1Mi"}}
    settings = {
        "root": f"{short_dir}/root",
        "state": f"{short_dir}/state",
        "grpc": {"address": f"{short_dir}/s.sock"},
        "metrics": {"address": ""},
        "web": {"address": ""},
        "plugins": sections,
    }
    config.write_text(json.dumps(settings))
    with holdfast(short_dir, config) as running:
        yield running.ready()


@pytest.fixture
def stub(daemon):
    with grpc.insecure_channel(f"unix:{daemon.address}") as channel:
        yield EventsStub(channel)


def command(daemon, *words, stdin=None):
    return Running([*HOLDFAST, *words, "-a", daemon.address], env=ENVIRON, stdin=stdin)


def probe(stub, topic="/probe", value=b""):
    stub.Publish(
        PublishRequest(topic=topic, event=Any(type_url="x.Y", value=value)), metadata=NAMESPACE, timeout=PATIENCE_S
    )


def subscribed(stub, running):
    """Publish until the command has printed something: it does not say when it is subscribed."""
    while not running.out:
        probe(stub)
        assert not running.ended(0.01), running.said


def test_what_publish_sends_events_prints(daemon, stub):
    with command(daemon, "events", 'topic~="^/(probe|tasks/)"') as events:
        subscribed(stub, events)
        with command(
            daemon, "publish", "--json", "--topic", "/tasks/oom", "-n", "k8s.io", stdin=EVENT.encode()
        ) as sent:
            assert (sent.end(), sent.said.splitlines()[1:]) == (0, [])
        line = events.line("/tasks/oom")
    assert line.split(" ", 1)[1] == f"k8s.io /tasks/oom {EVENT}"


def test_events_ends_with_3_and_one_line_when_the_daemon_goes(daemon, stub):
    with command(daemon, "events") as events:
        subscribed(stub, events)
        assert daemon.stop() == 0
        assert events.end() == 3
        assert len(events.err) == 1
        assert events.err[0].startswith("holdfast: ")


def test_events_ends_quietly_when_its_reader_does(daemon, stub):
    script = f"{' '.join(HOLDFAST)} events -a {daemon.address} | head -n 1"
    with Running(["sh", "-c", script], env=ENVIRON) as piped:
        while not piped.ended(0.01):
            probe(stub)
        assert piped.end() == 0
        assert piped.err == []


def test_a_client_that_never_reads_is_cut_off_with_the_reason_and_nobody_else_waits(daemon, stub):
    with grpc.insecure_channel(f"unix:{daemon.address}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        blocked = EventsStub(channel).Subscribe(SubscribeRequest())
        reading = stub.Subscribe(SubscribeRequest(filters=["namespace==hf"]))
        blocked.initial_metadata(), reading.initial_metadata()  # both are subscribed
        seen = 0
        while not any("event subscriber dropped" in line for line in daemon.err):
            probe(stub, f"/n/{seen}", bytes(4096))
            assert next(reading).topic == f"/n/{seen}"
            seen += 1
        received = []
        with pytest.raises(grpc.RpcError) as ended:
            received.extend(blocked)
        assert ended.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "subscriber is too slow: 50 events" in ended.value.details()
        probe(stub, "/last")
        assert next(reading).topic == "/last"
