"""The glue around differs and snapshotters: order, namespaces, leases, events, and nothing imported before its time."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from holdfast import namespaces
from holdfast.api.services.diff.v1 import diff_pb2 as api
from holdfast.api.services.snapshots.v1 import snapshots_pb2 as snapshots_api
from holdfast.api.types.descriptor_pb2 import Descriptor
from holdfast.api.types.mount_pb2 import Mount
from holdfast.errors import BadLayer, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from holdfast.plugins.containerd.diff import DiffConfig, DiffService, DiffServicer, diff_service
from holdfast.plugins.containerd.differ import Walking, WalkingConfig
from holdfast.plugins.containerd.snapshots import SnapshotsService, SnapshotsServicer
from holdfast.plugins.kinds import DIFFER
from holdfast.store import LocalStore, MetadataStore

OCI = "application/vnd.oci.image.layer.v1.tar"


class Call:
    """A gRPC context with a lease."""

    def invocation_metadata(self):
        return (("containerd-lease", "l1"),)


class Named:
    """A differ that says which differ was called, or that it cannot."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name = name
        self.error = error
        self.asked: list[tuple[object, str]] = []

    async def apply(self, request, lease):
        self.asked.append((request, lease))
        if self.error:
            raise self.error
        return api.ApplyResponse(applied=Descriptor(digest=self.name))

    async def compare(self, request, lease):
        self.asked.append((request, lease))
        if self.error:
            raise self.error
        return api.DiffResponse(diff=Descriptor(digest=self.name))


async def test_the_first_differ_that_can_answers_and_the_others_are_not_asked():
    cannot, can, spare = Named("a", Unimplemented("not me")), Named("b"), Named("c")
    servicer = DiffServicer(DiffService([cannot, can, spare]))
    assert (await servicer.Apply(api.ApplyRequest(), Call())).applied.digest == "b"
    assert (await servicer.Diff(api.DiffRequest(ref="r"), Call())).diff.digest == "b"
    assert [lease for _, lease in cannot.asked] == [lease for _, lease in can.asked] == ["l1", "l1"]
    assert spare.asked == []


async def test_a_differ_that_fails_is_the_last_one_asked():
    spare = Named("c")
    with pytest.raises(BadLayer):
        await DiffService([Named("a", BadLayer("hostile")), spare]).apply(api.ApplyRequest(), "")
    assert spare.asked == []


async def test_when_nobody_can_the_last_one_says_why():
    service = DiffService([Named("a", Unimplemented("first")), Named("b", Unimplemented("second"))])
    with pytest.raises(Unimplemented, match="second"):
        await service.compare(api.DiffRequest(), "")
    with pytest.raises(Unimplemented, match="no differ is configured"):
        await DiffService([]).compare(api.DiffRequest(), "")


async def test_sync_fs_of_the_configuration_is_for_every_layer():
    asked = Named("a")
    await DiffService([asked], sync_fs=True).apply(api.ApplyRequest(), "")
    await DiffService([asked]).apply(api.ApplyRequest(), "")
    assert [request.sync_fs for request, _ in asked.asked] == [True, False]


async def test_a_differ_that_is_configured_and_not_there_fails_the_service_with_its_name():
    for loaded, wanted in (
        ({}, (NotFound, "needed differ not loaded: mine")),
        ({"mine": object()}, (FailedPrecondition, "differ does not implement Comparer and Applier interface: mine")),
    ):
        context = SimpleNamespace(config=DiffConfig(default=("mine",)), all=lambda kind, found=loaded: found)
        kind, words = wanted
        with pytest.raises(kind, match=words):
            await anext(diff_service.init(context))
    assert diff_service.requires == (DIFFER,)


@pytest.fixture
async def walking(tmp_path):
    local = LocalStore(tmp_path / "content")
    await local.open()
    metadata = MetadataStore(tmp_path / "meta.sqlite", local)
    await metadata.open()
    made = Walking(metadata, tmp_path / "place", WalkingConfig())
    yield made
    await made.close()
    await metadata.close()
    await local.close()


async def test_a_layer_is_of_the_callers_namespace_and_lease(walking, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "x").write_text("x")
    (tmp_path / "target").mkdir()
    mount = Mount(type="bind", source=str(tmp_path / "tree"), options=["rbind", "rw"])
    target = Mount(type="bind", source=str(tmp_path / "target"), options=["rbind", "rw"])
    with namespaces.inside("ns"):
        with pytest.raises(NotFound, match="lease does not exist"):
            await walking.compare(api.DiffRequest(right=[mount]), "nobody's")
        made = await walking.compare(api.DiffRequest(right=[mount]), "")
        await walking.apply(api.ApplyRequest(diff=made.diff, mounts=[target]), "")
    assert (tmp_path / "target" / "x").read_text() == "x"
    with namespaces.inside("other"), pytest.raises(NotFound):
        await walking.apply(api.ApplyRequest(diff=made.diff, mounts=[target]), "")
    with pytest.raises(FailedPrecondition, match="namespace"):
        await walking.apply(api.ApplyRequest(diff=made.diff, mounts=[target]), "")


async def test_without_metadata_a_store_with_leases_of_its_own_gets_the_callers(tmp_path):
    far = SimpleNamespace(under=lambda lease: f"the store with {lease}")
    assert Walking(far, tmp_path, WalkingConfig())._content("l1") == "the store with l1"
    near = LocalStore(tmp_path)
    assert Walking(near, tmp_path, WalkingConfig())._content("l1") is near


async def test_an_epoch_of_1970_is_one_and_none_is_none(walking, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "x").write_text("x")
    mount = Mount(type="bind", source=str(tmp_path / "tree"), options=["rbind", "rw"])
    digests = set()
    with namespaces.inside("ns"):
        for _ in range(2):
            request = api.DiffRequest(right=[mount], media_type=OCI)
            request.source_date_epoch.seconds = 0
            digests.add((await walking.compare(request, "")).diff.digest)
            (tmp_path / "tree" / "x").write_text("x")  # a later time
        digests.add((await walking.compare(api.DiffRequest(right=[mount], media_type=OCI), "")).diff.digest)
    assert len(digests) == 2


async def test_what_a_layer_may_hold_is_taken_over_by_a_reload(walking):
    assert (walking._limits().unpacked_bytes, walking._limits().devices.value) == (128 << 30, "refuse")
    walking.configure(WalkingConfig(max_unpacked=5, device_nodes="create"))
    assert (walking._limits().unpacked_bytes, walking._limits().devices.value) == (5, "create")


async def test_what_the_walking_differ_does_not_know_it_leaves_to_the_next(walking):
    payload = api.ApplyRequest(payloads={"decrypt": AnyMessage()})
    below = api.ApplyRequest(mounts=[Mount(type="bind", source="/", target="sub")])
    with namespaces.inside("ns"):
        for request in (payload, below, api.ApplyRequest(diff=Descriptor(media_type="x"))):
            with pytest.raises(Unimplemented):
                await walking.apply(request, "")


def test_the_engine_is_imported_by_the_first_call_and_not_by_the_boot():
    code = (
        "import sys; from holdfast.plugins import shipped; shipped();"
        "print(sorted(name for name in sys.modules if name.startswith(('holdfast.diff', 'backports'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


class Far:
    """A snapshotter that remembers its requests."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def call(self, method, request):
        self.asked.append(method)
        return snapshots_api.PrepareSnapshotResponse(mounts=[Mount(type="bind")])

    async def stream(self, method, request):
        self.asked.append(method)
        for name in "ab":
            yield snapshots_api.ListSnapshotsResponse(info=[snapshots_api.Info(name=name)])


class Heard:
    def __init__(self) -> None:
        self.topics: list[str] = []

    def publish(self, topic, event):
        self.topics.append(topic)


async def test_a_snapshot_call_goes_to_the_snapshotter_it_names_and_is_told_of():
    far, heard = Far(), Heard()
    servicer = SnapshotsServicer(SnapshotsService({"far": far}, heard))  # type: ignore[arg-type]
    with namespaces.inside("ns"):
        prepare = snapshots_api.PrepareSnapshotRequest(snapshotter="far", key="k")
        assert (await servicer.Prepare(prepare, Call())).mounts[0].type == "bind"
        await servicer.Commit(snapshots_api.CommitSnapshotRequest(snapshotter="far", key="k", name="n"), Call())
        await servicer.Stat(snapshots_api.StatSnapshotRequest(snapshotter="far", key="n"), Call())
        await servicer.Remove(snapshots_api.RemoveSnapshotRequest(snapshotter="far", key="n"), Call())
        listing = snapshots_api.ListSnapshotsRequest(snapshotter="far")
        assert [answer.info[0].name async for answer in servicer.List(listing, Call())] == ["a", "b"]
    assert far.asked == ["Prepare", "Commit", "Stat", "Remove", "List"]
    assert heard.topics == ["/snapshot/prepare", "/snapshot/commit", "/snapshot/remove"]


@pytest.mark.parametrize(("name", "words"), [("", "snapshotter argument missing"), ("x", "snapshotter not loaded: x")])
async def test_a_snapshotter_that_is_not_here_is_the_callers_mistake(name, words):
    servicer = SnapshotsServicer(SnapshotsService({}, Heard()))  # type: ignore[arg-type]
    with namespaces.inside("ns"):
        with pytest.raises(InvalidArgument, match=words):
            await servicer.Mounts(snapshots_api.MountsRequest(snapshotter=name), Call())
        with pytest.raises(InvalidArgument, match=words):
            await anext(servicer.List(snapshots_api.ListSnapshotsRequest(snapshotter=name), Call()))
