from __future__ import annotations

import io
import os
import tarfile

import pytest
from holdfast.diff.archive import ArchiveReader
from holdfast.diff.tree import FileTree
from holdfast.diff.unpack import Devices, Unpacking

from tests.running import descriptors


class Made:
    """A tar in the making, by a program that is not ours; the owner is the user that runs the test."""

    def __init__(self, form: int = tarfile.PAX_FORMAT) -> None:
        self._raw = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._raw, mode="w", format=form)

    def add(self, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: object) -> Made:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.uid, info.gid = kind, len(data), os.getuid(), os.getgid()
        info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
        for key, value in fields.items():
            setattr(info, key, value)
        self._tar.addfile(info, io.BytesIO(data))
        return self

    @property
    def bytes(self) -> bytes:
        self._tar.close()
        return self._raw.getvalue()


@pytest.fixture
def made():
    return Made


@pytest.fixture
def root(tmp_path):
    """A root that layers go to, and beside it what they must not reach."""
    (tmp_path / "secret").write_text("untouched")
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    root.mkdir()
    yield root
    assert (tmp_path / "secret").read_text() == "untouched"
    assert list((tmp_path / "outside").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "root", "secret"]


@pytest.fixture
def unpack(root):
    """Unpacks an archive to the root, and leaves no descriptor behind, however it ends."""

    def unpacked(data: bytes, devices: Devices = Devices.REFUSE, step: int = 1000) -> None:
        tree = FileTree(os.open(root, os.O_PATH | os.O_DIRECTORY))
        pieces = (data[start : start + step] for start in range(0, len(data), step))
        try:
            Unpacking(tree, devices).run(ArchiveReader(pieces))
        finally:
            tree.close()
            assert descriptors(str(root)) == set()

    return unpacked
