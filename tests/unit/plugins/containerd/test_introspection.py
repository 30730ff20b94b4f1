import stat
import uuid

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue
from holdfast.api.services.introspection.v1.introspection_pb2 import PluginInfoRequest, PluginsRequest
from holdfast.errors import Code, FailedPrecondition, InvalidArgument, NotFound, SkipPlugin, Unimplemented
from holdfast.plugin import Kind, PluginSet, PluginState, Registration, State
from holdfast.plugins.containerd import introspection
from holdfast.plugins.containerd.introspection import Introspection, IntrospectionService, described, lasting_uuid

GRPC, SNAPSHOT, METADATA = (Kind(f"io.containerd.{name}.v1") for name in ("grpc", "snapshotter", "metadata"))


async def init(context):
    yield None


def state(kind, name, outcome=State.READY, error=None, requires=(), **keywords):
    return PluginState(Registration(kind, name, init, requires), outcome, None, error, **keywords)


TRIED = PluginSet()
for each in (
    state(METADATA, "bolt", State.FAILED, OSError("disk on fire")),
    state(SNAPSHOT, "btrfs", State.SKIPPED, SkipPlugin("not a btrfs"), exports={"root": "/r"}, capabilities=["rebase"]),
    state(GRPC, "version"),
    state(GRPC, "tasks", State.FAILED, NotFound("no plugins registered for x"), requires=[METADATA, SNAPSHOT]),
):
    TRIED.add(each)

SERVICE = IntrospectionService(Introspection(TRIED, "u-u-i-d", 42, 4026531836))


async def listed(*filters):
    answer = await SERVICE.Plugins(PluginsRequest(filters=filters), None)
    return [plugin.id for plugin in answer.plugins]


async def test_every_tried_plugin_is_listed_in_start_order():
    assert await listed() == ["bolt", "btrfs", "version", "tasks"]


async def test_filters_compare_type_and_id_and_any_may_match():
    assert await listed("type==io.containerd.grpc.v1,id!=version", "id~=^b") == ["bolt", "btrfs", "tasks"]
    assert await listed("capabilities") == []


async def test_a_bad_filter_is_refused():
    with pytest.raises(InvalidArgument, match=r"\[bad==\]: expected value or quoted"):
        await listed("bad==")


async def test_a_plugin_is_described_with_all_that_is_known():
    btrfs = described(TRIED.get("io.containerd.snapshotter.v1.btrfs"))
    assert (btrfs.type, btrfs.id) == ("io.containerd.snapshotter.v1", "btrfs")
    assert (dict(btrfs.exports), list(btrfs.capabilities)) == ({"root": "/r"}, ["rebase"])
    assert (btrfs.init_err.code, btrfs.init_err.message) == (Code.UNKNOWN, "not a btrfs: skip plugin")
    assert list(described(TRIED.get("io.containerd.grpc.v1.tasks")).requires) == [METADATA.uri, SNAPSHOT.uri]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (NotFound("x"), Code.NOT_FOUND, "x: not found"),
        (RuntimeError("plain"), Code.UNKNOWN, "RuntimeError: plain"),
        (KeyError(), Code.UNKNOWN, "KeyError"),
    ],
)
def test_an_error_has_the_code_clients_know_and_never_an_empty_message(error, code, message):
    status = described(state(GRPC, "x", State.FAILED, error)).init_err
    assert (status.code, status.message) == (code, message)


def test_a_ready_plugin_has_no_error():
    assert not described(TRIED.get("io.containerd.grpc.v1.version")).HasField("init_err")


async def test_the_server_says_who_it_is():
    answer = await SERVICE.Server(None, None)
    assert (answer.uuid, answer.pid, answer.pidns, list(answer.deprecations)) == ("u-u-i-d", 42, 4026531836, [])


async def test_a_plugins_exports_report_what_is_deprecated():
    tried = PluginSet()
    exports = {"mode": "hybrid", "io.containerd.deprecation/cgroup-v1": "use v2"}
    tried.add(state(GRPC, "cgroups", exports=exports))
    answer = Introspection(tried, "u", 1, 1, since_unix_ns=1_700_000_000_000_000_005).server()
    (found,) = answer.deprecations
    assert (found.id, found.message) == ("io.containerd.deprecation/cgroup-v1", "use v2")
    assert found.last_occurrence.ToNanoseconds() == 1_700_000_000_000_000_005


class Talkative:
    """An instance that answers options with a text."""

    async def plugin_info(self, options):
        return StringValue(value=f"asked for {options.type_url}")


async def info(kind, name, tried=TRIED, **more):
    request = PluginInfoRequest(type=kind.uri, id=name, **more)
    return await IntrospectionService(Introspection(tried, "u", 1, 1)).PluginInfo(request, None)


async def test_one_plugin_is_described():
    answer = await info(SNAPSHOT, "btrfs")
    assert answer.plugin == described(TRIED.get("io.containerd.snapshotter.v1.btrfs"))
    assert not answer.HasField("extra")
    with pytest.raises(NotFound, match=r"plugin io.containerd.grpc.v1.btrfs: not found"):
        await info(GRPC, "btrfs")


async def test_options_are_for_the_instance():
    tried, options = PluginSet(), AnyMessage(type_url="x/Y")
    tried.add(PluginState(Registration(GRPC, "talks", init), State.READY, Talkative()))
    answer = await info(GRPC, "talks", tried, options=options)
    said = StringValue()
    assert answer.extra.Unpack(said)
    assert said.value == "asked for x/Y"
    with pytest.raises(Unimplemented, match="says nothing more of itself"):
        await info(GRPC, "version", options=options)
    with pytest.raises(FailedPrecondition, match="is not ready"):
        await info(METADATA, "bolt", options=options)


def test_the_uuid_is_made_once_and_only_we_can_read_it(tmp_path):
    made = lasting_uuid(tmp_path / "uuid")
    assert uuid.UUID(made).version == 4
    assert lasting_uuid(tmp_path / "uuid") == made
    assert stat.S_IMODE((tmp_path / "uuid").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["uuid"]


def test_an_empty_file_or_one_left_half_written_gets_a_new_uuid(tmp_path):
    (tmp_path / "uuid").touch()
    (tmp_path / "uuid.new").write_text("1234")
    assert uuid.UUID(lasting_uuid(tmp_path / "uuid"))


def test_containerds_own_file_is_understood(tmp_path):
    (tmp_path / "uuid").write_text("5443e6e0-1332-420b-8e4e-d85b510e3fea")
    assert lasting_uuid(tmp_path / "uuid") == "5443e6e0-1332-420b-8e4e-d85b510e3fea"


def test_a_file_with_something_else_is_left_alone_and_named(tmp_path):
    (tmp_path / "uuid").write_text("precious")
    with pytest.raises(FailedPrecondition, match=r"/uuid: 'precious' is not a UUID; remove the file"):
        lasting_uuid(tmp_path / "uuid")
    assert (tmp_path / "uuid").read_text() == "precious"


def test_the_plugins_are_containerds():
    assert introspection.introspection_service.uri == "io.containerd.service.v1.introspection-service"
    assert introspection.introspection.uri == "io.containerd.grpc.v1.introspection"
