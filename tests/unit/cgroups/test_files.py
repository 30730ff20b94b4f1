"""Groups as directories: which one a name means now."""

from __future__ import annotations

import errno

import pytest
from holdfast.cgroups.v1 import V1Tree
from holdfast.errors import KernelRefused


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "a").mkdir()
    made = V1Tree("pids", str(tmp_path))
    yield made
    made.close()


def test_a_group_is_known_by_its_inode(tree, tmp_path):
    assert tree.inode("/a") == (tmp_path / "a").stat().st_ino
    assert tree.inode("/b") == 0


def test_a_group_that_cannot_be_opened_is_not_one_that_is_gone(tree, monkeypatch):
    def refuses(path, flags):
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(tree._beneath, "open", refuses)
    with pytest.raises(KernelRefused):
        tree.inode("/a")


def test_an_empty_value_is_written(tree, tmp_path):
    """The `cpuset.cpus` of a v2 group is empty before a rule sets it, and a write of no bytes changes nothing."""
    (tmp_path / "a/cpuset.cpus").write_text("0\n")
    assert tree.write("/a", "cpuset.cpus", "") == ""
