"""Legitimate effects of a layer on a tree, and everything a hostile one tries to do beyond it."""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import threading
from contextlib import suppress

import pytest
from holdfast.diff.archive import ArchiveReader
from holdfast.diff.tree import FileTree
from holdfast.diff.unpack import Devices, Unpacking
from holdfast.errors import BadLayer, Canceled, KernelRefused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.needs import root as needs_root

DIRECTORY, SYMLINK, LINK, FIFO = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE


def test_files_directories_links_and_fifos_are_made_as_they_are_described(made, unpack, root):
    layer = made().add("d", kind=DIRECTORY, mode=0o1777, mtime=5).add("d/f", b"data", mode=0o4711, mtime=1.5)
    layer.add("hard", kind=LINK, linkname="d/f", mode=0o4711, mtime=1.5).add(
        "soft", kind=SYMLINK, linkname="/d/f", mtime=9
    )
    layer.add("pipe", kind=FIFO, mode=0o622)
    unpack(layer.bytes)
    found = os.stat(root / "d/f")
    assert (stat.S_IMODE(found.st_mode), found.st_nlink, found.st_mtime_ns) == (0o4711, 2, 1_500_000_000)
    assert stat.S_IMODE(os.stat(root / "d").st_mode) == 0o1777
    assert os.stat(root / "d").st_mtime == 5, "although a file came after it"
    assert os.readlink(root / "soft") == "/d/f"
    assert os.lstat(root / "soft").st_mtime == 9
    assert stat.S_ISFIFO(os.stat(root / "pipe").st_mode)


def test_an_entry_replaces_what_has_its_name_and_a_directory_only_changes_one(made, unpack, root):
    unpack(made().add("a/x", b"x").add("b/y", b"y").add("c", b"c").bytes)
    unpack(made().add("a", b"a file").add("b", kind=DIRECTORY, mode=0o700).add("c", kind=DIRECTORY).bytes)
    assert (root / "a").read_bytes() == b"a file"
    assert (root / "b/y").read_bytes() == b"y"
    assert stat.S_IMODE(os.stat(root / "b").st_mode) == 0o700
    assert (root / "c").is_dir()


def test_a_file_below_a_file_is_refused(made, unpack):
    with pytest.raises(KernelRefused, match=r'^unpack entry "a/b": not a directory'):
        unpack(made().add("a", b"").add("a/b", b"").bytes)


def test_whiteouts_remove_and_an_opaque_one_spares_what_its_layer_brought(made, unpack, root):
    unpack(made().add("gone/deep/er", b"").add("o/old", b"").add("o/s/old", b"").add("o/s2/old", b"").bytes)
    layer = made().add("o/s/new", b"").add("o/first", b"").add("o/.wh..wh..opq").add("o/last", b"").add(".wh.gone")
    unpack(layer.add(".wh.never").bytes)
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    assert found == ["o", "o/first", "o/last", "o/s", "o/s/new"]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..."])
def test_a_whiteout_of_nothing_or_of_the_directory_itself_is_refused(made, unpack, name):
    with pytest.raises(BadLayer, match="invalid whiteout name"):
        unpack(made().add("d/f", b"").add(name).bytes)


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/../secret", "./.././secret", "a/b/../../../secret"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, DIRECTORY, SYMLINK, FIFO])
def test_a_name_that_leads_out_is_refused(made, unpack, root, name, kind):
    with pytest.raises(BadLayer, match=r'^entry ".*secret/?": leads out of the root$'):
        unpack(made().add(name, kind=kind, linkname="x").bytes)
    assert list(root.iterdir()) == []


def test_a_pax_path_counts_and_not_the_harmless_one_before_it(made, unpack):
    with pytest.raises(BadLayer, match="leads out"):
        unpack(made().add("harmless", b"x", pax_headers={"path": "../secret"}).bytes)


def test_a_leading_slash_is_the_roots(made, unpack, root):
    unpack(made().add("/etc/passwd", b"inside").add("//x", b"y").bytes)
    assert (root / "etc/passwd").read_bytes() == b"inside"
    assert (root / "x").read_bytes() == b"y"


@pytest.mark.parametrize("target", ["../outside", "/../outside", "../../../../../../{tmp}/outside", "{tmp}/outside"])
def test_a_link_on_the_way_is_followed_inside_the_root_only(made, unpack, root, target):
    target = target.format(tmp=root.parent)
    unpack(made().add("way", kind=SYMLINK, linkname=target).add("way/f", b"inside").add("way/d/.wh.x").bytes)
    assert (root / "way").is_symlink()
    [found] = root.rglob("f")
    assert found.read_bytes() == b"inside"


def test_nothing_is_written_through_a_link_with_the_files_own_name(made, unpack, root):
    secret = str(root.parent / "secret")
    layer = made().add("f", kind=SYMLINK, linkname=secret).add("f", b"a file").add("d", kind=SYMLINK, linkname=secret)
    unpack(layer.add("d", kind=DIRECTORY, mode=0o777).bytes)
    assert (root / "f").read_bytes() == b"a file"
    assert (root / "d").is_dir()
    assert not (root / "d").is_symlink()


def test_a_whiteout_removes_a_link_and_not_what_it_points_to(made, unpack, root):
    outside = str(root.parent)
    unpack(made().add("l", kind=SYMLINK, linkname=outside).bytes)
    unpack(made().add(".wh.l").bytes)
    assert list(root.iterdir()) == []
    unpack(made().add("l", kind=SYMLINK, linkname=outside).add("l/.wh.secret").bytes)


def test_links_in_a_circle_are_refused(made, unpack):
    layer = made().add("a", kind=SYMLINK, linkname="b").add("b", kind=SYMLINK, linkname="a").add("a/f", b"")
    with pytest.raises(KernelRefused, match="too many levels of symbolic links"):
        unpack(layer.bytes)


def test_a_link_whose_target_is_still_to_come_is_followed_to_where_that_will_be(made, unpack, root):
    unpack(made().add("lib", kind=SYMLINK, linkname="usr/../usr/lib").add("lib/x", b"x").bytes)
    assert (root / "usr/lib/x").read_bytes() == b"x"
    assert (root / "lib").is_symlink()


@pytest.mark.parametrize("target", ["../secret", "/../secret", "..", "/", "", "a/../../secret"])
def test_a_hard_link_that_leads_out_is_refused(made, unpack, target):
    with pytest.raises(BadLayer, match=r'^entry "h": a hard link out of the root$'):
        unpack(made().add("h", kind=LINK, linkname=target).bytes)


def test_a_hard_link_through_a_link_stays_inside(made, unpack, root):
    layer = made().add("up", kind=SYMLINK, linkname=str(root.parent)).add("h", kind=LINK, linkname="up/secret")
    with pytest.raises(KernelRefused, match="no such file or directory"):
        unpack(layer.bytes)


def test_a_hard_link_to_a_symbolic_link_links_the_link_and_changes_nothing_behind_it(made, unpack, root):
    secret = root.parent / "secret"
    before = os.stat(secret)
    layer = made().add("s", kind=SYMLINK, linkname=str(secret))
    unpack(layer.add("h", kind=LINK, linkname="s", mode=0o777, mtime=1).bytes)
    assert (root / "h").is_symlink()
    assert os.stat(secret) == before


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_device_node_is_refused_or_left_out(made, unpack, root, kind):
    layer = made().add("before", b"").add("dev/sda", kind=kind, devmajor=8, devminor=0).add("after", b"").bytes
    with pytest.raises(BadLayer, match=r'^entry "dev/sda": a device node; see device_nodes of the walking differ$'):
        unpack(layer)
    unpack(layer, Devices.SKIP)
    assert not (root / "dev/sda").exists()
    assert (root / "after").exists()


@needs_root
def test_a_device_node_is_made_where_the_operator_allows_it(made, unpack, root):
    layer = made().add("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    unpack(layer.add("loop", kind=tarfile.BLKTYPE, devmajor=7, devminor=255, mode=0o640).bytes, Devices.CREATE)
    found = {name: os.stat(root / name) for name in ("null", "loop")}
    assert (oct(found["null"].st_mode), found["null"].st_rdev) == ("0o20666", os.makedev(1, 3))
    assert (oct(found["loop"].st_mode), found["loop"].st_rdev) == ("0o60640", os.makedev(7, 255))


@pytest.mark.parametrize("kind", [b"7", b"S", b"V", b"Z"])
def test_an_entry_of_a_kind_nobody_knows_is_refused(made, unpack, kind):
    with pytest.raises(BadLayer, match=r"a kind of entry that is not known|sparse"):
        unpack(made(tarfile.GNU_FORMAT).add("x", b"data", kind=kind).bytes)


@pytest.mark.parametrize("cut", [1, 100, 511, 513, 600, 1023, 1025, 1535])
def test_a_truncated_archive_is_refused(made, unpack, cut):
    whole = made().add("f", bytes(1000)).bytes[:1536]
    unpack(whole)
    with pytest.raises(BadLayer, match="the archive ends in the middle of an entry"):
        unpack(whole[:cut])


@given(garbage=st.binary(min_size=1, max_size=2048), at=st.integers(0, 3000))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_anywhere_is_an_error_of_ours_or_nothing(made, unpack, garbage, at):
    whole = made().add("d/f", bytes(700)).add("l", kind=SYMLINK, linkname="d").add("l/.wh.f").bytes
    with suppress(BadLayer, KernelRefused):
        unpack(whole[:at] + garbage + whole[at + len(garbage) :])


PARTS = st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", ".wh..", "ä"])
NAMES = st.lists(PARTS, min_size=1, max_size=4)
KINDS = st.sampled_from([tarfile.REGTYPE, DIRECTORY, SYMLINK, LINK, FIFO])


@given(entries=st.lists(st.tuples(NAMES, KINDS, NAMES), max_size=8))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_sequence_of_entries_reaches_out_of_the_root(made, unpack, entries):
    layer = made()
    for name, kind, link in entries:
        layer.add("/".join(name), b"x" if kind == tarfile.REGTYPE else b"", kind=kind, linkname="/".join(link))
    with suppress(BadLayer, KernelRefused):
        unpack(layer.bytes)
    # what is outside is looked at by the fixture


def test_a_directory_swapped_for_a_link_by_others_all_the_time_leads_nowhere(made, root, tmp_path):
    layer = made()
    for number in range(150):
        layer.add(f"d/e/{number}", b"x").add(f"d/e/.wh.{number}").add("d/e", kind=DIRECTORY, mode=0o777)
    data = layer.bytes
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for name in ("d/e", "d"):
                path = root / name
                try:
                    path.rename(root / "aside")
                    path.symlink_to("../outside" if name == "d" else tmp_path / "outside")
                    path.unlink()
                    (root / "aside").rename(path)
                except OSError:  # the layer made it anew meanwhile
                    continue

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(4):
            tree = FileTree(os.open(root, os.O_PATH | os.O_DIRECTORY))
            try:
                Unpacking(tree).run(ArchiveReader(iter([data])))
            except (BadLayer, KernelRefused):
                continue
            finally:
                tree.close()
    finally:
        done.set()
        swapping.join()


def test_what_its_caller_gave_up_stops_at_the_next_entry(made, root):
    steps = []

    def go_on() -> None:
        steps.append(1)
        if len(steps) > 2:
            raise Canceled("")

    tree = FileTree(os.open(root, os.O_PATH | os.O_DIRECTORY))
    layer = made()
    for number in range(10):
        layer.add(str(number))
    with pytest.raises(Canceled):
        Unpacking(tree, go_on=go_on).run(ArchiveReader(iter([layer.bytes])))
    tree.close()
    assert sorted(path.name for path in root.iterdir()) == ["0", "1"]


def test_xattrs_are_set_and_the_administrators_are_left_out(made, unpack, root):
    headers = {"SCHILY.xattr.user.k": "v", "SCHILY.xattr.trusted.overlay.opaque": "y"}
    unpack(made().add("f", b"", pax_headers=headers).add("p", kind=FIFO, pax_headers=headers).bytes)
    assert os.listxattr(root / "f") == ["user.k"]
    assert os.listxattr(root / "p") == []


def test_an_owner_the_kernel_has_no_number_for_is_refused(made, unpack):
    for owner in ("-1", str(2**32 - 1), str(2**63)):
        with pytest.raises(BadLayer):
            unpack(made().add("f", b"", pax_headers={"uid": owner}).bytes)


def test_a_time_the_kernel_cannot_hold_is_1970(made, unpack, root):
    unpack(made().add("f", b"", mtime=-7).add("g", b"", mtime=2**40).bytes)
    assert os.stat(root / "f").st_mtime == os.stat(root / "g").st_mtime == 0


@needs_root
def test_capabilities_survive_the_change_of_owner(made, unpack, root):
    value = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    headers = {"SCHILY.xattr.security.capability": value.decode("utf-8", "surrogateescape")}
    unpack(made().add("f", b"", uid=1000, mode=0o4755, pax_headers=headers).bytes)
    assert os.getxattr(root / "f", "security.capability") == value
    assert os.stat(root / "f").st_mode & 0o7777 == 0o4755
