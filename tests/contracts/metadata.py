"""What every metadata store does: the cases of containerd's own suites for namespaces, leases, images and containers.

A test module subclasses `MetadataContract` with a ``metadata`` fixture that has ``namespaces``, ``leases``, ``images``
and ``containers``; the same cases are put to ours in process, to ours over gRPC and to real containerd.
"""

from __future__ import annotations

import asyncio

import pytest
from holdfast.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from holdfast.store.containers import Container, Runtime, TypedBytes
from holdfast.store.images import Descriptor, Image
from holdfast.store.leases import Resource
from holdfast.store.namespaces import Namespace

from tests.contracts.content import EMPTY

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TARGET = Descriptor(MANIFEST, EMPTY, 10, {"note": "1"})
SPEC = TypedBytes("types.containerd.io/opencontainers/runtime-spec/1/Spec", b"{}")
LONG = {"k": "v" * 4096}


def image(name: str, target: Descriptor = TARGET, **labels: str) -> Image:
    return Image(name, target, labels)


def container(name: str, **fields: object) -> Container:
    return Container(name, **{"runtime": Runtime("io.containerd.runc.v2"), "spec": SPEC, **fields})  # type: ignore[arg-type]


class NamespacesContract:
    async def test_a_namespace_has_a_name_and_labels(self, metadata):
        await metadata.namespaces.create(Namespace("ns1", {"a": "1", "empty": ""}))
        assert await metadata.namespaces.labels("ns1") == {"a": "1"}
        assert Namespace("ns1", {"a": "1"}) in await metadata.namespaces.all()

    async def test_a_second_one_of_a_name_is_refused(self, metadata):
        await metadata.namespaces.create(Namespace("ns1"))
        with pytest.raises(AlreadyExists, match=r'^namespace "ns1": already exists$'):
            await metadata.namespaces.create(Namespace("ns1"))

    @pytest.mark.parametrize("name", ["", "bad ns!", "-x", "x" * 77, "a..b", "a\n", "ü"])
    async def test_a_bad_name_is_refused(self, metadata, name):
        with pytest.raises(InvalidArgument, match="identifier"):
            await metadata.namespaces.create(Namespace(name))

    async def test_a_long_label_is_refused(self, metadata):
        with pytest.raises(InvalidArgument, match=r"^namespace.Labels: label key and value"):
            await metadata.namespaces.create(Namespace("ns1", LONG))
        await metadata.namespaces.create(Namespace("ns1"))

    async def test_labels_of_a_missing_one_are_none(self, metadata):
        assert await metadata.namespaces.labels("nobody") == {}

    async def test_an_update_sets_single_labels_or_all(self, metadata):
        await metadata.namespaces.create(Namespace("ns1", {"a": "1", "b": "2"}))
        await metadata.namespaces.update(Namespace("ns1", {"a": "3", "c": "4"}), ["labels.a"])
        assert await metadata.namespaces.labels("ns1") == {"a": "3", "b": "2"}
        await metadata.namespaces.update(Namespace("ns1"), ["labels.b"])
        assert await metadata.namespaces.labels("ns1") == {"a": "3"}
        await metadata.namespaces.update(Namespace("ns1", {"d": "5"}))
        assert await metadata.namespaces.labels("ns1") == {"d": "5"}
        with pytest.raises(InvalidArgument, match=r'^cannot update "name" field'):
            await metadata.namespaces.update(Namespace("ns1"), ["name"])

    async def test_updating_a_missing_one_makes_it(self, metadata):
        await metadata.namespaces.update(Namespace("made", {"a": "1"}), ["labels.a"])
        assert await metadata.namespaces.labels("made") == {"a": "1"}

    async def test_the_first_object_makes_its_namespace(self, metadata):
        await metadata.images.create("byimage", image("i"))
        assert "byimage" in [namespace.name for namespace in await metadata.namespaces.all()]

    async def test_one_with_objects_is_not_deleted(self, metadata):
        await metadata.images.create("full", image("i"))
        await metadata.containers.create("full", container("c"))
        with pytest.raises(
            FailedPrecondition, match=r'^namespace "full" must be empty, but it still has images, containers: failed'
        ):
            await metadata.namespaces.delete("full")
        await metadata.images.delete("full", "i")
        await metadata.containers.delete("full", "c")
        await metadata.leases.create("full", "goes with it")
        await metadata.namespaces.delete("full")
        assert "full" not in [namespace.name for namespace in await metadata.namespaces.all()]

    async def test_a_missing_one_is_not_found(self, metadata):
        with pytest.raises(NotFound, match=r'^namespace "nobody": not found$'):
            await metadata.namespaces.delete("nobody")


class LeasesContract:
    async def test_a_lease_has_an_id_labels_and_a_time(self, metadata):
        made = await metadata.leases.create("ns", "l1", {"a": "1"})
        [found] = await metadata.leases.matching("ns")
        assert (found.id, found.labels) == ("l1", {"a": "1"})
        assert 0 < made.created_at == found.created_at

    async def test_one_without_an_id_gets_one(self, metadata):
        made = [await metadata.leases.create("ns") for _ in range(3)]
        assert sorted(lease.id for lease in made) == [lease.id for lease in await metadata.leases.matching("ns")]

    async def test_a_second_one_of_an_id_is_refused(self, metadata):
        await metadata.leases.create("ns", "l1")
        with pytest.raises(AlreadyExists, match=r'^lease "l1": already exists$'):
            await metadata.leases.create("ns", "l1")
        await metadata.leases.create("other", "l1")

    async def test_leases_are_filtered(self, metadata):
        for name, labels in (("l1", {"a": "1"}), ("l2", {"a": "2"}), ("l3", {})):
            await metadata.leases.create("ns", name, labels)
        assert [lease.id for lease in await metadata.leases.matching("ns", ["id==l2"])] == ["l2"]
        assert [lease.id for lease in await metadata.leases.matching("ns", ["labels.a"])] == ["l1", "l2"]
        assert [lease.id for lease in await metadata.leases.matching("ns", ["labels.a==1", "id==l3"])] == ["l1", "l3"]
        with pytest.raises(InvalidArgument, match=r"^filters: parse error"):
            await metadata.leases.matching("ns", ["id=="])

    async def test_a_deleted_one_is_gone(self, metadata):
        await metadata.leases.create("ns", "l1")
        await metadata.leases.add("ns", "l1", Resource("ingests", "ref"))
        await metadata.leases.delete("ns", "l1")
        with pytest.raises(NotFound, match=r'^lease "l1": not found$'):
            await metadata.leases.delete("ns", "l1")
        await metadata.leases.create("ns", "l1")
        assert await metadata.leases.resources("ns", "l1") == []

    async def test_a_lease_holds_resources(self, metadata):
        held = [Resource("content", EMPTY), Resource("ingests", "ref"), Resource("snapshots/overlayfs", "key")]
        await metadata.leases.create("ns", "l1")
        for resource in (*held, *held):
            await metadata.leases.add("ns", "l1", resource)
        assert held == await metadata.leases.resources("ns", "l1")
        await metadata.leases.remove("ns", "l1", held[1])
        await metadata.leases.remove("ns", "l1", Resource("ingests", "never held"))
        assert [held[0], held[2]] == await metadata.leases.resources("ns", "l1")

    @pytest.mark.parametrize(
        ("resource", "error", "words"),
        [
            (Resource("content/x", EMPTY), InvalidArgument, "^invalid resource type content/x: "),
            (Resource("ingests/x", "r"), InvalidArgument, "^invalid resource type ingests/x: "),
            (Resource("snapshots", "k"), InvalidArgument, "^invalid snapshot resource type snapshots: "),
            (Resource("snapshots/a/b", "k"), InvalidArgument, "^invalid snapshot resource type snapshots/a/b: "),
            (Resource("content", "sha256:1"), InvalidArgument, "id sha256:1: invalid checksum digest length: "),
            (Resource("content", "x"), InvalidArgument, "id x: invalid checksum digest format: "),
            (Resource("content", "md5:12"), InvalidArgument, "id md5:12: unsupported digest algorithm: "),
            (Resource("tasks", "t"), Unimplemented, "^resource type tasks not supported yet: not implemented$"),
        ],
    )
    async def test_what_a_lease_cannot_hold_is_refused(self, metadata, resource, error, words):
        await metadata.leases.create("ns", "l1")
        with pytest.raises(error, match=words):
            await metadata.leases.add("ns", "l1", resource)
        with pytest.raises(error, match=words):
            await metadata.leases.remove("ns", "l1", resource)

    async def test_a_missing_one_holds_nothing(self, metadata):
        for call in (
            metadata.leases.add("ns", "l1", Resource("ingests", "r")),
            metadata.leases.remove("ns", "l1", Resource("ingests", "r")),
            metadata.leases.resources("ns", "l1"),
        ):
            with pytest.raises(NotFound, match=r'^lease "l1": not found$'):
                await call


class ImagesContract:
    async def test_an_image_is_as_it_was_made(self, metadata):
        made = await metadata.images.create("ns", image("i1", a="1", empty=""))
        assert made == await metadata.images.get("ns", "i1")
        assert (made.target, made.labels) == (TARGET, {"a": "1"})
        assert 0 < made.created_at == made.updated_at

    async def test_a_second_one_of_a_name_is_refused(self, metadata):
        await metadata.images.create("ns", image("i1"))
        with pytest.raises(AlreadyExists, match=r'^image "i1": already exists$'):
            await metadata.images.create("ns", image("i1"))
        await metadata.images.create("other", image("i1"))

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            (image("i", k="v" * 4096), "^image.Labels: label key and value"),
            (image("i", Descriptor(MANIFEST, "", 1)), '^Target.Digest "" invalid: invalid checksum digest format: '),
            (image("i", Descriptor(MANIFEST, "sha256:ab", 1)), '"sha256:ab" invalid: invalid checksum digest length: '),
            (image("i", Descriptor(MANIFEST, EMPTY, 0)), "^Target.Size must be greater than zero: invalid argument$"),
            (image("i", Descriptor("", EMPTY, 1)), "^Target.MediaType must be set: invalid argument$"),
        ],
    )
    async def test_what_is_no_image_is_refused(self, metadata, made, words):
        with pytest.raises(InvalidArgument, match=words):
            await metadata.images.create("ns", made)
        await metadata.images.create("ns", image("i"))
        if made.labels:
            with pytest.raises(InvalidArgument, match=words):
                await metadata.images.update("ns", made, ["labels"])
        else:
            with pytest.raises(InvalidArgument, match=words):
                await metadata.images.update("ns", made, ["target"])

    async def test_images_are_listed_by_name_and_filtered(self, metadata):
        for name in ("b", "a", "c"):
            await metadata.images.create("ns", image(name, tag=name, **{"x.y": "z"}))
        await metadata.images.create("ns", image("d", Descriptor("other/type", EMPTY, 1)))

        async def names(*filters: str) -> list[str]:
            return [found.name for found in await metadata.images.matching("ns", filters)]

        assert ["a", "b", "c", "d"] == await names() == await names("")
        assert await names("name==b") == ["b"]
        assert await names("labels.tag==a", "labels.tag==c") == ["a", "c"]
        assert await names('labels."x.y"==z') == ["a", "b", "c"]
        assert await names("target.mediatype==other/type") == ["d"]
        assert await names(f"target.digest=={EMPTY}") == ["a", "b", "c", "d"]
        assert await names("annotations.note==1") == ["a", "b", "c"]
        assert await names("name==b,labels.tag==a") == []
        with pytest.raises(InvalidArgument, match=r"^filters: parse error"):
            await names("bad==")

    @pytest.mark.parametrize(
        ("mask", "labels", "target"),
        [
            ((), {"b": "9"}, Descriptor("m2", EMPTY, 20, {"n": "2"})),
            (("labels",), {"b": "9"}, TARGET),
            (("labels.b",), {"a": "1", "b": "9"}, TARGET),
            (("labels.a",), {}, TARGET),
            (("labels.never",), {"a": "1"}, TARGET),
            (("target",), {"a": "1"}, Descriptor("m2", EMPTY, 20, {"n": "2"})),
            (("annotations",), {"a": "1"}, Descriptor(MANIFEST, EMPTY, 10, {"n": "2"})),
            (("annotations.n",), {"a": "1"}, Descriptor(MANIFEST, EMPTY, 10, {"note": "1", "n": "2"})),
            (("annotations.note",), {"a": "1"}, Descriptor(MANIFEST, EMPTY, 10)),
            (("labels.b", "target"), {"a": "1", "b": "9"}, Descriptor("m2", EMPTY, 20, {"n": "2"})),
        ],
    )
    async def test_an_update_changes_what_its_mask_names(self, metadata, mask, labels, target):
        made = await metadata.images.create("ns", image("i", a="1"))
        wanted = Image("i", Descriptor("m2", EMPTY, 20, {"n": "2"}), {"b": "9"})
        await metadata.images.update("ns", wanted, mask)
        found = await metadata.images.get("ns", "i")
        assert (labels, target) == (found.labels, found.target)
        assert made.created_at == found.created_at < found.updated_at

    async def test_what_cannot_be_updated_is_refused(self, metadata):
        made = await metadata.images.create("ns", image("i"))
        with pytest.raises(InvalidArgument, match=r'^cannot update "name" field on image "i": invalid argument$'):
            await metadata.images.update("ns", image("i"), ["labels.x", "name"])
        with pytest.raises(NotFound, match=r'^image "nobody": not found$'):
            await metadata.images.update("ns", image("nobody"), ["labels.x"])
        assert made == await metadata.images.get("ns", "i")

    async def test_a_deleted_one_is_gone(self, metadata):
        await metadata.images.create("ns", image("i"))
        await metadata.images.delete("ns", "i")
        for call in (metadata.images.get("ns", "i"), metadata.images.delete("ns", "i")):
            with pytest.raises(NotFound, match=r'^image "i": not found$'):
                await call

    async def test_of_many_that_make_one_name_one_wins(self, metadata):
        results = await asyncio.gather(
            *(metadata.images.create("ns", image("i", n=str(n))) for n in range(20)), return_exceptions=True
        )
        won = [result for result in results if isinstance(result, Image)]
        assert won == [await metadata.images.get("ns", "i")]
        assert sum(isinstance(result, AlreadyExists) for result in results) == 19


class ContainersContract:
    async def test_a_container_is_as_it_was_made(self, metadata):
        made = await metadata.containers.create(
            "ns",
            container(
                "c1",
                labels={"a": "1", "empty": ""},
                image="i",
                runtime=Runtime("r", TypedBytes("options", b"\x08\x01")),
                snapshotter="overlayfs",
                snapshot_key="key",
                extensions={"x": TypedBytes("ext", b"\x00")},
            ),
        )
        found = await metadata.containers.get("ns", "c1")
        assert made == found
        assert found.labels == {"a": "1"}
        assert Runtime("r", TypedBytes("options", b"\x08\x01")) == found.runtime
        assert (SPEC, {"x": TypedBytes("ext", b"\x00")}) == (found.spec, found.extensions)
        assert (found.snapshotter, found.snapshot_key, found.image) == ("overlayfs", "key", "i")
        assert 0 < found.created_at == found.updated_at

    async def test_a_second_one_of_an_id_is_refused(self, metadata):
        await metadata.containers.create("ns", container("c1"))
        with pytest.raises(AlreadyExists, match=r'^container "c1": already exists$'):
            await metadata.containers.create("ns", container("c1"))

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            (container("bad id"), "container.ID: identifier"),
            (container("c", labels=LONG), "containers.Labels: label key and value"),
            (container("c", runtime=Runtime()), "container.Runtime.Name must be set"),
            (container("c", spec=None), "container.Spec must be set"),
            (container("c", snapshot_key="k"), "container.Snapshotter must be set if container.SnapshotKey is set"),
            (container("c", extensions={"": TypedBytes("x")}), "container.Extension keys must not be zero-length"),
        ],
    )
    async def test_what_is_no_container_is_refused(self, metadata, made, words):
        with pytest.raises(InvalidArgument, match=f"^create container failed validation: {words}"):
            await metadata.containers.create("ns", made)

    async def test_containers_are_listed_by_id_and_filtered(self, metadata):
        for name in ("b", "a", "c"):
            await metadata.containers.create("ns", container(name, labels={"l": name}, image=f"image-{name}"))

        async def names(*filters: str) -> list[str]:
            return [found.id for found in await metadata.containers.matching("ns", filters)]

        assert await names() == ["a", "b", "c"]
        assert await names("id==b") == ["b"]
        assert await names("labels.l==c,image==image-c") == ["c"]
        assert await names("runtime.name~=runc") == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("mask", "changed"),
        [
            ((), {"labels", "spec", "extensions", "image"}),
            (("labels",), {"labels"}),
            (("spec",), {"spec"}),
            (("extensions",), {"extensions"}),
            (("image",), {"image"}),
            (("image", "spec"), {"image", "spec"}),
        ],
    )
    async def test_an_update_changes_what_its_mask_names(self, metadata, mask, changed):
        old = {"labels": {"a": "1"}, "spec": SPEC, "extensions": {"x": TypedBytes("x", b"1")}, "image": "old"}
        new = {
            "labels": {"b": "2"},
            "spec": TypedBytes("s2", b"2"),
            "extensions": {"y": TypedBytes("y", b"2")},
            "image": "new",
        }
        made = await metadata.containers.create("ns", container("c", **old))
        await metadata.containers.update("ns", container("c", **new), mask)
        found = await metadata.containers.get("ns", "c")
        for name in old:
            assert (new if name in changed else old)[name] == getattr(found, name)
        assert made.created_at == found.created_at < found.updated_at

    async def test_single_labels_and_extensions_are_updated(self, metadata):
        await metadata.containers.create(
            "ns", container("c", labels={"a": "1", "b": "2"}, extensions={"x": TypedBytes("x", b"1")})
        )
        await metadata.containers.update(
            "ns",
            container("c", labels={"a.b": "3"}, extensions={"y.z": TypedBytes("y", b"2")}),
            ["labels.a.b", "labels.b", "extensions.y.z"],
        )
        found = await metadata.containers.get("ns", "c")
        assert found.labels == {"a": "1", "a.b": "3"}
        assert {"x": TypedBytes("x", b"1"), "y.z": TypedBytes("y", b"2")} == found.extensions

    async def test_a_snapshot_key_is_updated_where_there_is_a_snapshotter(self, metadata):
        await metadata.containers.create("ns", container("c", snapshotter="native"))
        await metadata.containers.update("ns", container("c", snapshot_key="k"), ["snapshotkey"])
        assert (await metadata.containers.get("ns", "c")).snapshot_key == "k"

    @pytest.mark.parametrize(
        ("wanted", "mask", "words"),
        [
            (container("c", snapshotter="x"), (), "^container.Snapshotter field is immutable: "),
            (container("c", runtime=Runtime("x")), (), "^container.Runtime.Name field is immutable: "),
            (container("c"), ("runtime",), '^cannot update "runtime" field on "c": invalid argument$'),
            (container("c", spec=None), ("spec",), "^update failed validation: container.Spec must be set: "),
        ],
    )
    async def test_what_cannot_be_updated_is_refused(self, metadata, wanted, mask, words):
        made = await metadata.containers.create("ns", container("c"))
        with pytest.raises(InvalidArgument, match=words):
            await metadata.containers.update("ns", wanted, mask)
        assert made == await metadata.containers.get("ns", "c")

    async def test_a_missing_one_is_not_found(self, metadata):
        await metadata.containers.create("ns", container("other"))
        with pytest.raises(NotFound, match=r'^container "c" in namespace "ns": not found$'):
            await metadata.containers.get("ns", "c")
        with pytest.raises(NotFound, match=r'^container "c": not found$'):
            await metadata.containers.update("ns", container("c"), ["image"])
        with pytest.raises(NotFound, match=r"^container c: not found$"):
            await metadata.containers.delete("ns", "c")

    async def test_in_a_namespace_without_any_the_namespace_is_named(self, metadata):
        with pytest.raises(NotFound, match=r'^cannot update container "c" in namespace "no": not found$'):
            await metadata.containers.update("no", container("c"), ["image"])
        with pytest.raises(NotFound, match=r'^cannot delete container "c" in namespace "no": not found$'):
            await metadata.containers.delete("no", "c")

    async def test_a_deleted_one_is_gone(self, metadata):
        await metadata.containers.create("ns", container("c"))
        await metadata.containers.delete("ns", "c")
        assert await metadata.containers.matching("ns") == []


class MetadataContract(NamespacesContract, LeasesContract, ImagesContract, ContainersContract):
    """All of it."""
