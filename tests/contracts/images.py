"""Contract of every image store: the cases of containerd's own suite and some it does not have."""

from __future__ import annotations

import asyncio
import time

import pytest
from holdfast.errors import AlreadyExists, InvalidArgument, NotFound
from holdfast.store.objects.images import Descriptor, Image

from tests.contracts.content import EMPTY, digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TARGET = Descriptor(MANIFEST, EMPTY, 10, {"note": "1"})
OTHER = digest(b"other")
OLDER = Descriptor(MANIFEST, EMPTY, 10, {"note": "1", "n": "2"})
NEWER = Descriptor("m2", OTHER, 20, {"n": "9", "new": "3"})


def yes(it_is: bool) -> str:
    return "true" if it_is else "false"


def image(name: str, target: Descriptor = TARGET, **labels: str) -> Image:
    return Image(name, target, labels)


class ImagesContract:
    async def test_an_image_is_as_it_was_made(self, metadata):
        before = time.time_ns()
        made = await metadata.images.create("ns", image("i1", a="1", empty=""))
        assert made == await metadata.images.get("ns", "i1")
        assert (made.target, made.labels) == (TARGET, {"a": "1"})
        assert before <= made.created_at == made.updated_at <= time.time_ns()

    async def test_a_second_one_of_a_name_is_refused(self, metadata):
        await metadata.images.create("ns", image("i1"))
        with pytest.raises(AlreadyExists, match=r'^image "i1": already exists$'):
            await metadata.images.create("ns", image("i1"))
        await metadata.images.create("other", image("i1"))

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            (image("i", k="v" * 4096), "^image.Labels: label key and value"),
            (
                image("i", Descriptor(MANIFEST, "", 1)),
                '^Target.Digest "" invalid: invalid checksum digest format: ',
            ),
            (
                image("i", Descriptor(MANIFEST, "sha256:ab", 1)),
                '"sha256:ab" invalid: invalid checksum digest length: ',
            ),
            (
                image("i", Descriptor(MANIFEST, EMPTY, 0)),
                "^Target.Size must be greater than zero: invalid argument$",
            ),
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
        ("filters", "expected"),
        [
            ([], [0, 1, 2, 3]),
            (["labels.even==true", "labels.odd==true"], [0, 1, 2, 3]),  # any of them is enough
            (["labels.even==true"], [0, 2]),
            (["labels.odd==true"], [1, 3]),
            (["name==image-0"], [0]),
            (["labels.namelabel==image-0,labels.even==true"], [0]),
            (["labels.namelabel==image-0,labels.odd==true"], []),
            (["target.mediatype~=application/vnd.*"], [0, 1, 2, 3]),
        ],
    )
    async def test_a_filter_finds_images_by_what_they_say_of_themselves(self, metadata, filters, expected):
        made = []
        for number in range(4):
            labels = {"namelabel": f"image-{number}", "even": yes(number % 2 == 0), "odd": yes(number % 2 != 0)}
            target = Descriptor("application/vnd.containerd.test", digest(b"%d" % number), 10, {"foo": "bar"})
            made.append(await metadata.images.create("ns", image(f"image-{number}", target, **labels)))
        assert [made[number] for number in expected] == await metadata.images.matching("ns", filters)

    @pytest.mark.parametrize(
        ("mask", "labels", "target"),
        [
            ((), {"b": "9", "c": "3"}, NEWER),
            (("labels",), {"b": "9", "c": "3"}, OLDER),
            (("labels.b",), {"a": "1", "b": "9"}, OLDER),
            (("labels.a",), {"b": "2"}, OLDER),
            (("labels.never",), {"a": "1", "b": "2"}, OLDER),
            (("target",), {"a": "1", "b": "2"}, NEWER),
            (("annotations",), {"a": "1", "b": "2"}, Descriptor(MANIFEST, EMPTY, 10, {"n": "9", "new": "3"})),
            (("annotations.n",), {"a": "1", "b": "2"}, Descriptor(MANIFEST, EMPTY, 10, {"note": "1", "n": "9"})),
            (("annotations.note",), {"a": "1", "b": "2"}, Descriptor(MANIFEST, EMPTY, 10, {"n": "2"})),
            (
                ("annotations", "labels"),
                {"b": "9", "c": "3"},
                Descriptor(MANIFEST, EMPTY, 10, {"n": "9", "new": "3"}),
            ),
            (("labels.b", "target"), {"a": "1", "b": "9"}, NEWER),
        ],
    )
    async def test_an_update_changes_what_its_mask_names(self, metadata, mask, labels, target):
        made = await metadata.images.create("ns", image("i", OLDER, a="1", b="2"))
        before = time.time_ns()
        updated = await metadata.images.update("ns", Image("i", NEWER, {"b": "9", "c": "3"}), mask)
        found = await metadata.images.get("ns", "i")
        assert updated == found
        assert (labels, target) == (found.labels, found.target)
        assert made.created_at == found.created_at < before <= found.updated_at

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


class LaterImagesContract:
    """Cases of containerd 2, which 1.6 ignores."""

    async def test_a_delete_may_say_what_the_name_must_still_point_to(self, metadata):
        await metadata.images.create("ns", image("i"))
        with pytest.raises(NotFound):
            await metadata.images.delete("ns", "i", OTHER)
        await metadata.images.update("ns", image("i", Descriptor(MANIFEST, OTHER, 20)))
        with pytest.raises(NotFound):
            await metadata.images.delete("ns", "i", EMPTY)
        await metadata.images.delete("ns", "i", OTHER)
        assert await metadata.images.matching("ns") == []
