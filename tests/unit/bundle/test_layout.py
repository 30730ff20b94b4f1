import io
import json
import os
import tarfile

import pytest
from holdfast.bundle.layout import FRAME, blob, find, layout, read_blob, read_contents
from holdfast.bundle.manifest import INDEX, MAX_MANIFEST
from holdfast.errors import FailedPrecondition, HoldfastError, InvalidArgument, NotFound, ResourceExhausted

from tests.fakes.layout import Layout, digest, rule


@pytest.fixture
def made(tmp_path):
    return Layout(tmp_path / "layout")


@pytest.fixture(params=["folder", "archive"])
def opened(request, made, tmp_path):
    """Opens what was made, as a directory and as an archive."""
    return lambda: layout(made.path if request.param == "folder" else made.archived(tmp_path / "layout.tar"))


def test_a_bundle_is_found_by_tag_by_digest_and_alone(made, opened):
    one = made.add("v1", {"a.yaml": rule("a")})
    with opened() as files:
        assert [one, one, one] == [find(files, reference).digest for reference in ("v1", one, "")]
        assert read_contents(files, find(files, "v1")).files[0].path == "a.yaml"
    made.add("v2", {"a.yaml": rule("b")})
    with opened() as files:
        assert find(files, "v1").digest == one
        with pytest.raises(InvalidArgument, match=r"which one\? there are v1, v2"):
            find(files, "")
        with pytest.raises(NotFound, match="v3"):
            find(files, "v3")


def test_one_tag_that_means_two_bundles_is_refused(made, opened):
    made.add("v1", {"a.yaml": rule("a")})
    made.add("v1", {"a.yaml": rule("b")})
    with opened() as files, pytest.raises(InvalidArgument, match="v1"):
        find(files, "v1")


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME + 7])
def test_a_blob_is_read_in_frames(made, opened, size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    made.put(data)
    made.add("v1", {"f": b"1"})
    with opened() as files:
        frames = list(blob(files, digest(data), size))
    assert b"".join(frames) == data
    assert max(map(len, frames)) <= FRAME


def test_bytes_that_are_not_what_the_digest_says_never_come_whole(made, opened):
    data = b"y" * (FRAME + 10)
    made.put(data).write_bytes(data[:-1] + b"z")
    made.add("v1", {"f": b"1"})
    came = []
    with opened() as files, pytest.raises(FailedPrecondition, match="its bytes are sha256:"):
        came.extend(blob(files, digest(data), len(data)))
    assert sum(map(len, came)) < len(data)


@pytest.mark.parametrize("size", [0, 2, 10**12])
def test_another_size_than_announced_is_refused(made, opened, size):
    made.add("v1", {"f": b"1"})
    with opened() as files, pytest.raises(FailedPrecondition, match="is of 1 bytes, not of"):
        read_blob(files, digest(b"1"), size)


def test_a_blob_that_is_missing_is_named(made, opened):
    made.add("v1", {"f": b"1"})
    with opened() as files, pytest.raises(NotFound, match="blobs/sha256/"):
        read_blob(files, digest(b"2"), 1)


@pytest.mark.parametrize("name", ["blob", "folder", "algorithm", "index.json", "oci-layout"])
def test_links_are_not_followed(made, opened, tmp_path, name):
    """Not even to what has the right bytes: a user that can plant a link can move it between two reads."""
    made.add("v1", {"f": b"1"})
    place = {
        "blob": made.put(b"1"),
        "folder": made.path / "blobs",
        "algorithm": made.path / "blobs" / "sha256",
    }.get(name, made.path / name)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")

    def look():
        with opened() as files:
            find(files, "v1")
            read_blob(files, digest(b"1"), 1)

    with pytest.raises(HoldfastError):
        look()


def test_a_fifo_is_refused_and_not_waited_for(made):
    made.add("v1", {"f": b"1"})
    place = made.put(b"1")
    place.unlink()
    os.mkfifo(place)
    with layout(made.path) as files, pytest.raises(InvalidArgument, match="not a plain file"):
        read_blob(files, digest(b"1"), 1)


def test_an_archives_link_to_another_member_is_refused(made, tmp_path):
    made.add("v1", {"f": b"1"})
    path = made.archived(tmp_path / "x.tar")
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("./blobs/sha256/" + digest(b"1").partition(":")[2])
        link.type, link.linkname = tarfile.SYMTYPE, "../../index.json"
        archive.addfile(link)
    with layout(path) as files, pytest.raises(InvalidArgument, match="not a plain file"):
        read_blob(files, digest(b"1"), 1)


@pytest.mark.parametrize("data", [b"", b"not a tar", b"\x1f\x8b\x08" + b"\0" * 600])
def test_a_file_that_is_no_archive_is_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(HoldfastError, match="x: "), layout(tmp_path / "x"):
        pass


def test_no_layout_at_all(tmp_path):
    with pytest.raises(NotFound, match="no such file"), layout(tmp_path / "nothing"):
        pass
    with pytest.raises(NotFound, match="oci-layout"), layout(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "[]", '{"imageLayoutVersion": "2.0.0"}', "{}"])
def test_another_version_is_refused(made, text):
    (made.path / "oci-layout").write_text(text)
    with pytest.raises(InvalidArgument, match="oci-layout"), layout(made.path):
        pass


def test_an_index_of_several_and_other_manifests_are_refused(made, opened):
    made.add_manifest("many", b"{}", INDEX)
    made.add_manifest("docker", b"{ }", "application/vnd.docker.distribution.manifest.v2+json")
    with opened() as files:
        with pytest.raises(InvalidArgument, match="an index of several"):
            find(files, "many")
        with pytest.raises(InvalidArgument, match="docker"):
            find(files, "docker")


def test_a_huge_index_or_manifest_is_not_read(made, opened):
    made.add("v1", {"f": b"1"})
    text = (made.path / "index.json").read_text()
    (made.path / "index.json").write_text(text + " " * MAX_MANIFEST)
    with opened() as files, pytest.raises(ResourceExhausted, match=r"index\.json"):
        find(files, "v1")
    index = json.loads(text)
    index["manifests"][0]["size"] = MAX_MANIFEST + 1
    (made.path / "index.json").write_text(json.dumps(index))
    with opened() as files, pytest.raises(ResourceExhausted):
        read_contents(files, find(files, "v1"))


def test_an_archive_of_too_many_members_is_refused(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for number in range(10_001):
            archive.addfile(tarfile.TarInfo(str(number)))
    (tmp_path / "x.tar").write_bytes(packed.getvalue())
    with pytest.raises(ResourceExhausted), layout(tmp_path / "x.tar"):
        pass
