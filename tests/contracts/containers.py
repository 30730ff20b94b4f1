"""Contract of every container store: the cases of containerd's own suite and some it does not have."""

from __future__ import annotations

import time

import pytest
from holdfast.errors import AlreadyExists, InvalidArgument, NotFound
from holdfast.store.objects.containers import Container, Runtime, TypedBytes
from msgspec.structs import replace

from tests.contracts.images import yes

SPEC = TypedBytes("types.containerd.io/opencontainers/runtime-spec/1/Spec", b"{}")
LONG = {"k": "v" * 4096}


def container(name: str, **fields: object) -> Container:
    return Container(name, **{"runtime": Runtime("io.containerd.runc.v2"), "spec": SPEC, **fields})  # type: ignore[arg-type]


class ContainersContract:
    async def test_a_container_is_as_it_was_made(self, metadata):
        before = time.time_ns()
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
        assert before <= found.created_at == found.updated_at <= time.time_ns()

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
        if made.spec is None and not getattr(metadata, "wants_a_spec", True):
            return  # containerd 2 makes it
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
        ("filters", "expected"),
        [
            ([], [0, 1, 2, 3]),
            (["labels.even==true", "labels.odd==true"], [0, 1, 2, 3]),  # any of them is enough
            (["labels.even==true"], [0, 2]),
            (["labels.odd==true"], [1, 3]),
            (["id==container-0"], [0]),
            (["labels.idlabel==container-0,labels.even==true"], [0]),
            (["labels.idlabel==container-0,labels.odd==true"], []),
            (["runtime.name==testruntime"], [0, 1, 2, 3]),
            (["runtime.name==another"], []),
        ],
    )
    async def test_a_filter_finds_containers_by_what_they_say_of_themselves(self, metadata, filters, expected):
        made = []
        for number in range(4):
            labels = {"idlabel": f"container-{number}", "even": yes(number % 2 == 0), "odd": yes(number % 2 != 0)}
            fields = {"image": "test image", "snapshotter": "snapshotter", "snapshot_key": "test-snapshot-key"}
            wanted = container(f"container-{number}", labels=labels, runtime=Runtime("testruntime"), **fields)
            made.append(await metadata.containers.create("ns", wanted))
        assert [made[number] for number in expected] == await metadata.containers.matching("ns", filters)

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
        before = time.time_ns()
        updated = await metadata.containers.update("ns", container("c", **new), mask)
        found = await metadata.containers.get("ns", "c")
        assert updated == found
        for name in old:
            assert (new if name in changed else old)[name] == getattr(found, name)
        assert made.created_at == found.created_at < before <= found.updated_at

    @pytest.mark.parametrize(
        ("mask", "wanted", "left"),
        [
            (("labels",), {}, {}),
            (("labels.b",), {"b": "9"}, {"a": "1", "b": "9"}),
            (("labels.b",), {"b": ""}, {"a": "1"}),
            (("labels.b",), {}, {"a": "1"}),
        ],
    )
    async def test_labels_are_changed_and_removed(self, metadata, mask, wanted, left):
        made = await metadata.containers.create(
            "ns", container("c", labels={"a": "1", "b": "2"}, image="test image", snapshotter="s", snapshot_key="k")
        )
        updated = await metadata.containers.update("ns", Container("c", labels=wanted), mask)
        assert updated == await metadata.containers.get("ns", "c")
        assert left == updated.labels
        assert replace(updated, labels=made.labels, updated_at=made.updated_at) == made

    async def test_an_extension_that_the_mask_does_not_name_is_left(self, metadata):
        hello, bar = TypedBytes("test.update.extensions", b"hello"), TypedBytes("test.update.extensions", b"foo")
        await metadata.containers.create("ns", container("c", extensions={"hello": hello}))
        universe = {"hello": TypedBytes("test.update.extensions", b"universe"), "bar": bar}
        await metadata.containers.update("ns", Container("c", extensions=universe), ["extensions.bar"])
        assert (await metadata.containers.get("ns", "c")).extensions == {"hello": hello, "bar": bar}

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
            (Container("c", spec=SPEC), ("runtime",), '^cannot update "runtime" field on "c": invalid argument$'),
            (
                container("c", snapshotter="s", snapshot_key="k"),
                ("snapshotkey", "snapshotter"),
                '^cannot update "snapshotter" field on "c": invalid argument$',
            ),
            (container("c"), ("id",), '^cannot update "id" field on "c": invalid argument$'),
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
