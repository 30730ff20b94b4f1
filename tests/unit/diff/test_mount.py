"""Mounts: their words, and roots that no other process can see."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from holdfast.diff import mount
from holdfast.diff.mount import BIND, RDONLY, REC, Mount
from holdfast.errors import InvalidArgument, KernelRefused, Unimplemented

from tests.needs import root


def test_fstabs_words_are_flags_and_the_rest_is_the_file_systems():
    flags, data = Mount("bind", "/x", ("rbind", "ro", "nosuid", "rw", "defaults", "uid=5")).parsed()
    assert (flags, data) == (BIND | REC | 0x2, ["uid=5"])
    flags, data = Mount("overlay", "overlay", ("lowerdir=/a:/b", "ro")).parsed()
    assert (flags, data) == (RDONLY, ["lowerdir=/a:/b"])


@pytest.mark.parametrize("wanted", [Mount("ext4", "/dev/sda"), Mount("bind", "/x", ("loop",)), Mount("fuse.x", "x")])
def test_what_is_neither_bind_nor_overlay_is_unimplemented(wanted, tmp_path):
    with pytest.raises(Unimplemented, match=r"^mount (type|option) .*not implemented$"):
        mount.opened([wanted], tmp_path)


def test_an_overlay_made_read_only_has_its_upper_directory_on_top_of_the_lower_ones():
    made = Mount("overlay", "overlay", ("index=off", "workdir=/w", "upperdir=/u", "lowerdir=/a:/b", "rw")).read_only()
    assert made.options == ("index=off", "lowerdir=/u:/a:/b", "ro")
    assert Mount("bind", "/x", ("rbind", "rw")).read_only().options == ("rbind", "ro")


def test_no_mounts_make_no_root(tmp_path):
    with pytest.raises(InvalidArgument, match="mounts must not be empty"):
        mount.opened([], tmp_path)


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(KernelRefused, match=f"{tmp_path}/absent: no such file or directory"):
        mount.opened([Mount("bind", f"{tmp_path}/absent", ("rbind", "rw"))], tmp_path)


def test_a_bind_is_its_source(tmp_path):
    (tmp_path / "x").write_text("x")
    descriptor = mount.opened([Mount("bind", str(tmp_path), ("rbind", "rw"))], tmp_path)
    assert os.listdir(f"/proc/self/fd/{descriptor}/") == ["x"]
    os.close(descriptor)


@root
def test_a_read_only_bind_cannot_be_written(tmp_path):
    descriptor = mount.opened([Mount("bind", str(tmp_path), ("rbind", "ro"))], tmp_path)
    with pytest.raises(OSError, match="Read-only file system"):
        os.mkdir("x", dir_fd=descriptor)
    os.close(descriptor)


@root
def test_an_overlay_of_many_layers_is_made_and_nobody_else_sees_it(tmp_path):
    names = [tmp_path / ("snapshots" * 10) / str(number) / "fs" for number in range(60)]
    for name in (*names, tmp_path / "place", tmp_path / "upper", tmp_path / "work"):
        name.mkdir(parents=True)
    for number, name in enumerate(names):
        (name / str(number)).touch()
    options = (f"lowerdir={':'.join(map(str, names))}", f"upperdir={tmp_path}/upper", f"workdir={tmp_path}/work")
    here = Path.cwd()
    descriptor = mount.opened([Mount("overlay", "overlay", options)], tmp_path / "place")
    os.mkdir("made", dir_fd=descriptor)
    assert len(os.listdir(f"/proc/self/fd/{descriptor}/")) == 61
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert list((tmp_path / "place").iterdir()) == []
    os.close(descriptor)
    assert (tmp_path / "upper" / "made").is_dir()
    assert Path.cwd() == here
    assert "diff-mount" not in {thread.name for thread in threading.enumerate()}
