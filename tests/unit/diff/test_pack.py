"""Changes between two trees, and the layer made of them."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile

import pytest
from holdfast.diff.archive import ArchiveReader, ArchiveWriter
from holdfast.diff.change import ChangeKind, changes
from holdfast.diff.pack import Packing
from holdfast.diff.tree import FileTree
from holdfast.diff.unpack import Unpacking
from holdfast.errors import BadLayer


def opened(path) -> FileTree:
    return FileTree(os.open(path, os.O_RDONLY | os.O_DIRECTORY))


def layer(left, right, **more) -> bytes:
    pieces: list[bytes] = []
    older, newer = opened(left) if left else None, opened(right)
    Packing(newer, ArchiveWriter(pieces.append), **more).run(changes(older, newer))
    for tree in filter(None, (older, newer)):
        tree.close()
    return b"".join(pieces)


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as made:
        return made.getmembers()


def names(data: bytes) -> list[str]:
    return [member.name for member in members(data)]


@pytest.fixture
def trees(tmp_path):
    """Two trees that are the same."""
    for top in ("old", "new"):
        for name in ("a/b/c", "a/x", "z"):
            path = tmp_path / top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            os.utime(path, ns=(10**18, 10**18 + 5))
    return tmp_path / "old", tmp_path / "new"


def test_the_same_trees_make_an_empty_layer(trees):
    assert layer(*trees) == bytes(1024)


def test_a_change_comes_with_the_directories_above_it_and_nothing_else(trees):
    (trees[1] / "a/b/c").write_text("changed")
    assert names(layer(*trees)) == ["a", "a/b", "a/b/c"]


def test_what_is_gone_is_one_whiteout_and_the_same_every_time(trees):
    (trees[1] / "a/b/c").unlink()
    (trees[1] / "a/b").rmdir()
    (trees[1] / "z").unlink()
    found = members(layer(*trees))
    assert [member.name for member in found] == ["a", "a/.wh.b", ".wh.z"]
    assert {(member.mtime, member.uid, member.mode) for member in found[1:]} == {(0, 0, 0)}
    assert layer(*trees) == layer(*trees)


def test_a_file_in_the_place_of_a_directory_and_the_other_way(trees):
    (trees[1] / "a/b/c").unlink()
    (trees[1] / "a/b").rmdir()
    (trees[1] / "a/b").write_text("now a file")
    (trees[1] / "z").unlink()
    (trees[1] / "z").mkdir()
    (trees[1] / "z/in").write_text("x")
    assert names(layer(*trees)) == ["a", "a/b", "z", "z/in"]


def test_a_time_without_a_fraction_may_be_cut_off_so_the_content_is_looked_at(trees):
    for top, text in zip(trees, ("one", "two"), strict=True):
        (top / "z").write_text(text)
        (top / "a/x").write_text("same")
        for name in ("z", "a/x"):
            os.utime(top / name, (10**9, 10**9))
    assert names(layer(*trees)) == ["z"]


def test_names_of_one_file_stay_one_file(trees):
    for top in trees:
        os.link(top / "z", top / "a/z2")
        os.link(top / "a/x", top / "a/x2")
    assert layer(*trees) == bytes(1024)
    (trees[1] / "z").write_text("changed through one name")
    found = members(layer(*trees))
    assert [(member.name, member.type) for member in found] == [
        ("a", tarfile.DIRTYPE),
        ("a/z2", tarfile.REGTYPE),
        ("z", tarfile.LNKTYPE),
    ]
    assert found[-1].linkname == "a/z2"


def test_no_time_is_later_than_the_epoch_that_is_asked_for(trees):
    (trees[1] / "new").write_text("x")
    os.utime(trees[1] / "new", (2 * 10**9, 2 * 10**9))
    assert [member.mtime for member in members(layer(*trees, epoch_ns=10**18 + 999))] == [10**9]


def test_a_socket_is_left_out_and_a_fifo_is_not(trees):
    os.mkfifo(trees[1] / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(trees[1])  # a socket's name has 108 bytes
        try:
            bound.bind("socket")
        finally:
            os.chdir(here)
        assert names(layer(*trees)) == ["fifo"]


def test_xattrs_of_users_are_kept_and_count_as_a_change(trees):
    os.setxattr(trees[1] / "z", "user.key", b"a\0b\n=c")
    os.utime(trees[1] / "z", ns=(10**18, 10**18 + 5))
    data = layer(*trees)
    assert names(data) == ["z"]
    assert b"SCHILY.xattr.user.key=a\0b\n=c\n" in data


def test_a_file_that_grows_while_it_is_read_is_refused(trees, monkeypatch):
    (trees[1] / "z").write_text("x" * 100)
    tree = opened(trees[1])
    found = list(changes(None, tree))
    with (trees[1] / "z").open("a") as growing:
        growing.write("more")
    with pytest.raises(BadLayer, match=r'^entry "z": it changed while it was read$'):
        Packing(tree, ArchiveWriter(lambda data: None)).run(found)
    tree.close()


def test_a_file_swapped_for_a_link_meanwhile_is_not_followed(trees, tmp_path):
    (tmp_path / "secret").write_text("z")
    tree = opened(trees[1])
    found = [change for change in changes(None, tree) if change.kind is ChangeKind.PUT]
    (trees[1] / "z").unlink()
    (trees[1] / "z").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        Packing(tree, ArchiveWriter(lambda data: None)).run(found)
    tree.close()


def test_what_a_layer_is_made_of_is_what_it_makes(trees, tmp_path):
    new = trees[1]
    os.chmod(new / "a", 0o2711)
    (new / "link").symlink_to("/nowhere")
    (new / ("long" * 60)).write_text("x")
    os.link(new / "z", new / "z2")
    os.setxattr(new / "a", "user.dir", b"d")
    (tmp_path / "again").mkdir()
    tree = opened(tmp_path / "again")
    data = layer(None, new)
    Unpacking(tree).run(ArchiveReader(iter([data])))
    tree.close()
    assert layer(None, tmp_path / "again") == data
    assert os.stat(tmp_path / "again/z").st_nlink == 2
    assert stat.S_IMODE(os.stat(tmp_path / "again/a").st_mode) == 0o2711
