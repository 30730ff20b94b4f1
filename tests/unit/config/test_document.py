import pytest
from holdfast.config.document import Node, Source, key_words, node_of

SOURCE = Source("c.yaml")
TREE = Node({"a": Node([Node({"b": Node(1, SOURCE, 4)}, SOURCE, 3)], SOURCE, 2)}, SOURCE, 1)


def test_a_path_leads_to_a_node_or_to_none():
    assert TREE.at(("a", 0, "b")).where == "c.yaml:4"
    assert [TREE.at(path) for path in (("x",), ("a", 5), ("a", 0, "b", "c"))] == [None, None, None]


def test_the_nearest_node_of_a_missing_path_is_its_closest_ancestor():
    assert [TREE.nearest(path).line for path in (("a", 0, "c"), ("a", 7), ("z", "y"))] == [3, 2, 1]


def test_what_has_no_line_is_named_by_its_source_alone():
    assert node_of({"a": 1}, Source("command line")).at(("a",)).where == "command line"


def test_plain_data_survives_a_round_trip():
    data = {"a": [1, {"b": None}], "c": {"d": True}}
    assert node_of(data, SOURCE).plain() == data


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ((), ""),
        (("grpc", "uid"), "grpc.uid"),
        (("grpc", "grants", 0, "methods"), "grpc.grants[0].methods"),
        (("plugins", "io.containerd.gc.v1.scheduler", "x"), 'plugins."io.containerd.gc.v1.scheduler".x'),
    ],
)
def test_a_path_is_written_as_people_write_it(path, words):
    assert key_words(path) == words
