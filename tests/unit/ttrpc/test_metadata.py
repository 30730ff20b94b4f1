import pytest
from holdfast.ttrpc import Metadata


def test_a_key_is_found_whatever_its_case_when_we_wrote_it():
    metadata = Metadata({"Foo": "a"})
    assert (metadata["foo"], metadata["FOO"], list(metadata)) == (("a",), ("a",), ["foo"])


def test_an_unknown_key_is_a_key_error_and_first_has_a_default():
    metadata = Metadata({"foo": "a"})
    with pytest.raises(KeyError):
        metadata["bar"]
    assert (metadata.first("bar"), metadata.first("bar", "x"), metadata.first("foo")) == ("", "x", "a")


def test_a_key_without_values_is_no_key():
    assert dict(Metadata({"foo": ()})) == {}


def test_replacing_sets_the_values_and_leaves_the_original():
    metadata = Metadata({"foo": ("a", "b")})
    assert dict(metadata.replacing("FOO", "c")) == {"foo": ("c",)}
    assert dict(metadata.replacing("foo")) == {}
    assert dict(metadata) == {"foo": ("a", "b")}


def test_appending_keeps_the_order_and_leaves_the_original():
    metadata = Metadata({"foo": "a"})
    assert metadata.appending("foo", "b", "c")["foo"] == ("a", "b", "c")
    assert metadata.appending("bar", "x")["bar"] == ("x",)
    assert dict(metadata) == {"foo": ("a",)}


def test_what_was_received_keeps_its_keys_as_they_were_sent():
    metadata = Metadata.received([("Foo", "a"), ("foo", "b"), ("Foo", "c")])
    assert list(metadata.pairs()) == [("Foo", "a"), ("Foo", "c"), ("foo", "b")]
    assert (metadata["foo"], metadata["Foo"]) == (("b",), ("a", "c"))


def test_two_of_the_same_content_are_equal():
    assert Metadata({"a": "b"}) == Metadata.received([("a", "b")])
