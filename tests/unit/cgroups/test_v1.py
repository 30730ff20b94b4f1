"""A tree of cgroup v1 in a directory."""

from __future__ import annotations

import pytest
from holdfast.cgroups.v1 import V1Tree
from holdfast.errors import KernelRefused


def test_a_cpuset_group_that_cannot_be_filled_is_not_left_behind(tmp_path):
    (tmp_path / "stands").mkdir()
    tree = V1Tree("cpuset", str(tmp_path))
    with pytest.raises(KernelRefused):
        tree.create("/stands/made/deeper")
    assert [path.name for path in tmp_path.rglob("*")] == ["stands"]
