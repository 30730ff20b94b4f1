"""The client commands against real services on a real socket."""

import asyncio
import contextlib
import json
import os

import grpc
import holdfast
import pytest
from click.testing import CliRunner
from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_health.v1.health_pb2 import HealthCheckResponse
from holdfast.api.events.task_pb2 import TaskOOM
from holdfast.api.types.event_pb2 import Envelope
from holdfast.cli.group import cli
from holdfast.cli.main import call
from holdfast.errors import SkipPlugin
from holdfast.events import Exchange
from holdfast.events.envelope import packed
from holdfast.plugin import Kind, PluginSet, PluginState, Registration, State
from holdfast.plugins.containerd.events import Events
from holdfast.plugins.containerd.introspection import Introspection, IntrospectionService
from holdfast.plugins.containerd.version import Versions

from tests.fakes.serving import serving
from tests.running import PATIENCE_S

GRPC, SNAPSHOT = Kind("io.containerd.grpc.v1"), Kind("io.containerd.snapshotter.v1")
UUID = "5443e6e0-1332-420b-8e4e-d85b510e3fea"


async def init(context):
    yield None


def tried():
    plugins = PluginSet()
    plugins.add(
        PluginState(
            Registration(SNAPSHOT, "btrfs", init),
            State.SKIPPED,
            error=SkipPlugin("not a btrfs"),
            exports={"root": "/r", "also": "x"},
            capabilities=["a", "b"],
        )
    )
    plugins.add(PluginState(Registration(GRPC, "version", init, distribution="example 1.0"), State.READY))
    plugins.add(
        PluginState(
            Registration(GRPC, "tasks", init, (SNAPSHOT,)), State.FAILED, error=RuntimeError("disk\x1b[2J on fire")
        )
    )
    return plugins


LISTS = pytest.mark.skipif(
    not hasattr(health_pb2, "HealthListRequest"), reason="grpcio-health-checking before 1.85 has no List"
)


class Health(health_aio.HealthServicer):
    """The library's, with the method it does not serve yet."""

    async def List(self, request, context):
        statuses = {name: HealthCheckResponse(status=status) for name, status in self._server_status.items()}
        return health_pb2.HealthListResponse(statuses=statuses)


class Daemon:
    def __init__(self, directory):
        self.address = f"{directory}/s"
        self.exchange = Exchange()
        self.health = Health()
        self.loop = None

    def run(self, *arguments, **keywords):
        return CliRunner().invoke(cli, [*arguments, "-a", self.address], **keywords)


@pytest.fixture
def daemon(tmp_path):
    made = Daemon(tmp_path)
    instances = [Versions(), IntrospectionService(Introspection(tried(), UUID, 42, 1)), Events(made.exchange)]
    health = [lambda server: health_pb2_grpc.add_HealthServicer_to_server(made.health, server)]
    with serving(f"unix:{made.address}", *instances, also=health) as made.loop:
        yield made


def test_version_prints_the_clients_and_the_daemons(daemon):
    result = daemon.run("version")
    assert result.exit_code == 0
    client, server = result.output.split("\n\n")
    assert client.startswith(f"Client:\n  Version:  {holdfast.__version__}\n")
    assert server == f"Server:\n  Version:  {holdfast.__version__}\n  Revision:\n  UUID:     {UUID}\n  PID:      42\n"


def test_version_in_json(daemon):
    printed = json.loads(daemon.run("version", "-o", "json").output)
    assert printed["server"] == {"version": holdfast.__version__, "revision": "", "uuid": UUID, "pid": "42"}
    assert printed["client"]["version"] == holdfast.__version__


def test_plugins_hides_what_was_skipped_and_says_so(daemon):
    result = daemon.run("plugins", "ls")
    assert result.stdout == (
        "TYPE                     ID         PLATFORMS    STATUS\n"
        "io.containerd.grpc.v1    version    -            ok\n"
        "io.containerd.grpc.v1    tasks      -            error\n"
    )
    assert result.stderr == "(1 skipped; --all shows them)\n"


def test_wide_names_the_package_that_brings_each_plugin_with_its_version(daemon):
    assert daemon.run("plugins", "ls", "-o", "wide").stdout == (
        "TYPE                     ID         PLATFORMS    STATUS    DISTRIBUTION\n"
        "io.containerd.grpc.v1    version    -            ok        example 1.0\n"
        "io.containerd.grpc.v1    tasks      -            error     -\n"
    )


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--all"], ["btrfs", "version", "tasks"]),
        ([], ["version", "tasks"]),
        (["id~=s"], ["btrfs", "version", "tasks"]),
        (["id==btrfs", "id==version"], ["btrfs", "version"]),
    ],
)
def test_all_and_filters_show_skipped_plugins_too(daemon, arguments, ids):
    assert daemon.run("plugins", "ls", "-q", *arguments).stdout.split() == ids


def test_details_are_one_line_a_fact_and_cannot_drive_the_terminal(daemon):
    assert daemon.run("plugins", "ls", "-d", "--all").stdout == (
        "Type:          io.containerd.snapshotter.v1\n"
        "ID:            btrfs\n"
        "Exports:       also       x\n"
        "               root       /r\n"
        "Capabilities:  a,b\n"
        "Error:         UNKNOWN: not a btrfs: skip plugin\n"
        "\n"
        "Type:          io.containerd.grpc.v1\n"
        "ID:            version\n"
        "Exports:       distribution example 1.0\n"
        "\n"
        "Type:          io.containerd.grpc.v1\n"
        "ID:            tasks\n"
        "Requires:      io.containerd.snapshotter.v1\n"
        "Error:         UNKNOWN: RuntimeError: disk\\x1b[2J on fire\n"
    )


def test_plugins_in_json_is_the_whole_answer(daemon):
    printed = json.loads(daemon.run("plugins", "ls", "-o", "json").stdout)
    assert [each["id"] for each in printed["plugins"]] == ["btrfs", "version", "tasks"]
    assert printed["plugins"][0]["init_err"] == {"code": 2, "message": "not a btrfs: skip plugin", "details": []}


def test_a_bad_filter_is_the_daemons_line_and_exit_1(daemon, capsys):
    assert call(["plugins", "ls", "bad==", "-a", daemon.address]) == 1
    assert capsys.readouterr().err == (
        "holdfast: filters: parse error: [bad==]: expected value or quoted: invalid argument\n"
    )


@pytest.mark.parametrize(
    ("arguments", "output", "code"),
    [
        ([], "SERVING\n", 0),
        (["good"], "SERVING\n", 0),
        (["bad"], "NOT_SERVING\n", 1),
        (["-o", "json", "bad"], '{\n  "status": "NOT_SERVING"\n}\n', 1),
        pytest.param(
            ["--all"],
            'SERVICE    STATUS\n""         SERVING\nbad        NOT_SERVING\ngood       SERVING\n',
            0,
            marks=LISTS,
        ),
    ],
)
def test_health_is_an_exit_code(daemon, arguments, output, code, capsys):
    for name, status in (("good", HealthCheckResponse.SERVING), ("bad", HealthCheckResponse.NOT_SERVING)):
        asyncio.run_coroutine_threadsafe(daemon.health.set(name, status), daemon.loop).result(PATIENCE_S)
    assert call(["health", *arguments, "-a", daemon.address]) == code
    assert capsys.readouterr().out == output


def test_all_health_needs_a_library_that_has_it(daemon, capsys, monkeypatch):
    monkeypatch.delattr(health_pb2, "HealthListRequest", raising=False)
    assert call(["health", "--all", "-a", daemon.address]) == 1
    assert capsys.readouterr().err == (
        "holdfast: health --all: the installed grpcio-health-checking has no List; install 1.85 or newer:"
        " failed precondition\n"
    )


def test_a_service_nobody_knows_is_not_healthy(daemon, capsys):
    assert call(["health", "nobody", "-a", daemon.address]) == 1
    assert capsys.readouterr().err.startswith("holdfast: ")


class Published:
    """Sends an event as soon as a client subscribes, then ends its stream."""

    def __init__(self, daemon, *envelopes):
        self.subscribe, self.envelopes = daemon.exchange.subscribe, envelopes
        self.filters = None
        daemon.exchange.subscribe = self

    def __call__(self, filters):
        self.filters = list(filters)
        made = self.subscribe(())
        return contextlib.nullcontext(Ending(made, self.envelopes))


class Ending:
    def __init__(self, subscription, envelopes):
        from holdfast.events import Event

        self.events = iter([Event(envelope) for envelope in envelopes])
        self.on_drop = subscription.on_drop

    def __aiter__(self):
        return self

    async def __anext__(self):
        for event in self.events:
            return event
        raise StopAsyncIteration


KNOWN = Envelope(
    timestamp=Timestamp(seconds=1_700_000_000, nanos=123_456_789),
    namespace="k8s.io",
    topic="/tasks/oom",
    event=packed(TaskOOM(container_id="c1")),
)
UNKNOWN = Envelope(timestamp=Timestamp(seconds=1), namespace="n", topic="/x", event=Any(type_url="a.B", value=b"\1\2"))


def test_events_are_lines_of_time_namespace_topic_and_json(daemon):
    published = Published(daemon, KNOWN, UNKNOWN, Envelope(namespace="n", topic="/empty"))
    assert daemon.run("events", "namespace~=n", "topic").stdout == (
        "2023-11-14T22:13:20.123456789Z k8s.io /tasks/oom "
        '{"@type": "containerd.events.TaskOOM", "container_id": "c1"}\n'
        '1970-01-01T00:00:01Z n /x {"@type": "a.B", "value": "AQI="}\n'
        "1970-01-01T00:00:00Z n /empty\n"
    )
    assert published.filters == ["namespace~=n", "topic"]


def test_events_in_json_are_one_envelope_a_line(daemon):
    Published(daemon, KNOWN)
    (line,) = daemon.run("events", "-o", "json").stdout.splitlines()
    assert json.loads(line) == {
        "timestamp": "2023-11-14T22:13:20.123456789Z",
        "namespace": "k8s.io",
        "topic": "/tasks/oom",
        "event": {"@type": "containerd.events.TaskOOM", "container_id": "c1"},
    }


def received(daemon, *arguments, stdin):
    """Return what a subscriber in the daemon gets of one published event."""
    with daemon.exchange.subscribe() as reading:
        result = daemon.run("publish", *arguments, input=stdin)
        return result, [event.envelope for event in reading._waiting]


def test_publish_sends_the_any_on_standard_input(daemon):
    payload = packed(TaskOOM(container_id="c1"))
    result, (envelope,) = received(daemon, "--topic", "/tasks/oom", "-n", "ns", stdin=payload.SerializeToString())
    assert (result.exit_code, result.output) == (0, "")
    assert (envelope.namespace, envelope.topic, envelope.event) == ("ns", "/tasks/oom", payload)


def test_publish_takes_json_of_a_known_type(daemon):
    text = '{"@type": "containerd.events.TaskOOM", "container_id": "c1"}'
    _, (envelope,) = received(daemon, "--topic", "/tasks/oom", "--json", stdin=text)
    assert (envelope.namespace, envelope.event) == ("default", packed(TaskOOM(container_id="c1")))


@pytest.mark.parametrize(
    ("arguments", "stdin", "error"),
    [
        (["--topic", "/a"], b"\xff", "holdfast: stdin: 1 bytes that are no protobuf Any; --json reads JSON\n"),
        (["--topic", "/a", "--json"], b"{", "holdfast: stdin: not an Any in JSON: Failed to load JSON: "),
        (["--topic", "/a", "--json"], b'{"@type": "no.Type"}', "holdfast: stdin: not an Any in JSON: "),
        (["--topic", "/a", "--json"], b"\xff", "holdfast: stdin: not an Any in JSON: "),
        (["--topic", "my"], b"", "holdfast: envelope topic \"my\": must start with '/': invalid argument\n"),
        (["--topic", "/a", "-n", ""], b"", "holdfast: failed publishing event: namespace is required: "),
    ],
)
def test_what_cannot_be_published_is_one_line(daemon, arguments, stdin, error, capsys, monkeypatch):
    reader, writer = os.pipe()
    os.write(writer, stdin)
    os.close(writer)
    with open(reader) as file:
        monkeypatch.setattr("sys.stdin", file)
        assert call(["publish", *arguments, "-a", daemon.address]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(error)
    assert printed.count("\n") == 1


def test_a_channel_is_closed_when_the_command_ends(daemon, monkeypatch):
    channels = []
    make = grpc.insecure_channel
    monkeypatch.setattr(grpc, "insecure_channel", lambda *given: channels.append(make(*given)) or channels[-1])
    daemon.run("version")
    with pytest.raises(ValueError, match="closed channel"):
        channels[0].unary_unary("/x/y")(b"")
