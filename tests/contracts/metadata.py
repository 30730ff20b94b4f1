"""Contract of every metadata store: containerd's own cases for namespaces, leases, images and containers.

A test module subclasses `MetadataContract` with a ``metadata`` fixture that has ``namespaces``, ``leases``, ``images``
and ``containers``; the same cases are put to ours in process, to ours over gRPC and to real containerd.
"""

from __future__ import annotations

import pytest
from holdfast.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from holdfast.store.objects.leases import Resource
from holdfast.store.objects.namespaces import Namespace

from tests.contracts.containers import LONG, ContainersContract, container
from tests.contracts.content import EMPTY
from tests.contracts.images import ImagesContract, image

__all__ = ["MetadataContract", "image"]


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

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ([], ["l1", "l2", "l3"]),
            (["id==l1"], ["l1"]),
            (["id==l1", "id==l2"], ["l1", "l2"]),
            (["labels.label1"], ["l1", "l2", "l3"]),
            (["labels.label1==value1"], ["l1", "l2"]),
            (["labels.label1==value2"], ["l3"]),
            (["labels.label2"], ["l3"]),  # an empty label is none
            (["labels.label2", "labels.label3"], ["l1", "l2", "l3"]),
            (["labels.label1==value1,id==l3"], []),
        ],
    )
    async def test_leases_are_filtered(self, metadata, filters, expected):
        for name, labels in (
            ("l1", {"label1": "value1", "label3": "other"}),
            ("l2", {"label1": "value1", "label2": "", "label3": "other"}),
            ("l3", {"label1": "value2", "label2": "something"}),
        ):
            await metadata.leases.create("ns", name, labels)
        assert expected == [lease.id for lease in await metadata.leases.matching("ns", filters)]

    async def test_a_broken_filter_is_refused(self, metadata):
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
            (Resource("leases", "l"), Unimplemented, "^resource type leases not supported yet: not implemented$"),
            (Resource("containers", "c"), Unimplemented, "^resource type containers not supported yet: not impl"),
            (Resource("image", "i"), Unimplemented, "^resource type image not supported yet: not implemented$"),
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


class MetadataContract(NamespacesContract, LeasesContract, ImagesContract, ContainersContract):
    """All of it."""
