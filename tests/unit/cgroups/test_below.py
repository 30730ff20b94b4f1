"""Walks over all groups, of which the owner of a subtree makes as many as it likes, as deep as it likes."""

import os

import pytest
from holdfast.cgroups import UNIFIED, hierarchy
from holdfast.cgroups.hierarchy import Hierarchy
from holdfast.cgroups.v2 import V2Tree

DEPTH = 1200  # the interpreter's stack has 1000 frames, and a path of so many names 6000 bytes


@pytest.fixture
def tree(tmp_path):
    return V2Tree(str(tmp_path))


@pytest.fixture
def groups(tree):
    return Hierarchy({UNIFIED: tree})


@pytest.fixture
def deep(tmp_path):
    """Groups in each other, made and removed from the inside: no path is long enough to name them."""
    folders = [os.open(tmp_path, os.O_RDONLY)]
    for _ in range(DEPTH):
        os.mkdir("abcd", dir_fd=folders[-1])
        folders.append(os.open("abcd", os.O_RDONLY, dir_fd=folders[-1]))
        if len(folders) > 2:
            os.close(folders[-3])
    for folder in folders[-2:]:
        os.close(folder)
    yield
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(DEPTH):
        inner = os.open("abcd", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    for _ in range(DEPTH):
        outer = os.open("..", os.O_RDONLY, dir_fd=here)
        os.close(here)
        os.rmdir("abcd", dir_fd=outer)
        here = outer
    os.close(here)


def test_groups_in_each_other_are_visited_as_far_as_a_path_can_name_them(groups, tree, deep, tmp_path):
    (tmp_path / "beside").mkdir()
    found = list(groups.below(tree, "/"))
    assert found[:3] == ["/abcd", "/beside", "/abcd/abcd"]
    assert len(found) > 700
    assert max(map(len, found)) > 3900
    assert groups.walks_cut == 0


def test_a_walk_visits_the_nearest_first_and_ends_at_a_bound_that_is_counted(groups, tree, tmp_path, monkeypatch):
    monkeypatch.setattr(hierarchy, "MOST_GROUPS", 5)
    for name in ("a/b/c", "a/d", "e", "f"):
        (tmp_path / name).mkdir(parents=True)
    assert list(groups.below(tree, "/")) == ["/a", "/e", "/f", "/a/b", "/a/d"]
    assert groups.walks_cut == 1
    assert list(groups.below(tree, "/a")) == ["/a/b", "/a/d", "/a/b/c"]
    assert groups.walks_cut == 1
