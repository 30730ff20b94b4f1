import pytest
from holdfast.cgroups.face import checked_path, levels, parent
from holdfast.errors import InvalidArgument


@pytest.mark.parametrize(
    ("given", "checked"),
    [("/a/b", "/a/b"), ("a", "/a"), ("//a//b/", "/a/b"), ("/", "/"), ("/a/./b", "/a/b"), ("/a:b c", "/a:b c")],
)
def test_a_path_gets_one_leading_slash_and_nothing_else(given, checked):
    assert checked_path(given) == checked


@pytest.mark.parametrize("hostile", ["/a/../../etc", "..", "/a\nb", "/a\0b", "/" + "x" * 256])
def test_a_path_that_leaves_the_hierarchy_or_cannot_be_is_refused(hostile):
    with pytest.raises(InvalidArgument, match="no group can be called"):
        checked_path(hostile)


def test_levels_go_top_down_without_the_root():
    assert levels("/a/b/c") == ("/a", "/a/b", "/a/b/c")
    assert levels("/") == ()


def test_the_parent_of_a_top_group_is_the_root():
    assert [parent("/a/b"), parent("/a"), parent("/")] == ["/a", "/", "/"]
