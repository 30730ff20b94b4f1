import pytest
from holdfast.errors import MisusedPlugin
from holdfast.plugin import EVERYTHING, Kind, Registration
from holdfast.plugin.graph import expand_short_ids, ordered

A, B, C, D = (Kind(f"io.test.{letter}.v1") for letter in "abcd")


async def nothing(context):
    yield None


def registration(kind, name, *requires):
    return Registration(kind, name, nothing, requires, origin=f"{kind.uri}:{name}")


def uris(registrations):
    return [registration.uri.removeprefix("io.test.") for registration in registrations]


def test_what_is_required_comes_first_in_the_order_the_kinds_are_named():
    plugins = [registration(A, "x", C, B), registration(B, "1"), registration(B, "2"), registration(C, "y")]
    assert uris(ordered(plugins)) == ["c.v1.y", "b.v1.1", "b.v1.2", "a.v1.x"]


def test_registration_order_decides_between_plugins_that_need_nothing():
    plugins = [registration(B, "2"), registration(A, "1"), registration(B, "1")]
    assert uris(ordered(plugins)) == ["b.v1.2", "a.v1.1", "b.v1.1"]


def test_the_same_registrations_always_give_the_same_order():
    plugins = [registration(D, "d", A), registration(C, "c", B), registration(B, "b", A), registration(A, "a")]
    assert len({tuple(uris(ordered(plugins))) for _ in range(20)}) == 1


def test_everything_puts_a_plugin_last_even_when_it_is_registered_first():
    plugins = [registration(A, "last", EVERYTHING), registration(B, "b"), registration(C, "c")]
    assert uris(ordered(plugins)) == ["b.v1.b", "c.v1.c", "a.v1.last"]


async def refusal(registration):
    """The error of a registration that cannot start."""
    with pytest.raises(MisusedPlugin) as refused:
        await anext(registration.init("context"))
    return str(refused.value)


async def test_of_two_plugins_that_each_want_everything_the_second_cannot_start():
    plugins = [registration(A, "x", EVERYTHING), registration(B, "y", EVERYTHING)]
    second, first = ordered(plugins)
    assert (first, second.uri) == (plugins[0], plugins[1].uri)
    assert "io.test.a.v1.x -> io.test.b.v1.y -> io.test.a.v1.x" in await refusal(second)


async def test_of_a_loop_the_last_registered_cannot_start_and_only_the_loop_is_named():
    plugins = [registration(D, "entry", A), registration(A, "a", B), registration(B, "b", C), registration(C, "c", A)]
    last, *others = ordered(plugins)
    assert (last.uri, others) == ("io.test.c.v1.c", [plugins[2], plugins[1], plugins[0]])
    assert await refusal(last) == (
        "circular plugin dependency: io.test.a.v1.a -> io.test.b.v1.b -> io.test.c.v1.c -> io.test.a.v1.a:"
        " plugin: dependency loop detected"
    )


def test_a_disabled_plugin_is_dropped_but_who_needs_it_still_starts():
    plugins = [registration(A, "x", B), registration(B, "b")]
    assert uris(ordered(plugins, {"io.test.b.v1.b"})) == ["a.v1.x"]


def test_disabling_breaks_a_loop():
    plugins = [registration(A, "a", B), registration(B, "b", A)]
    assert uris(ordered(plugins, {"io.test.b.v1.b"})) == ["a.v1.a"]


def test_a_duplicate_is_refused_with_both_places_named():
    first = Registration(A, "x", nothing, origin="one.place")
    again = Registration(A, "x", nothing, origin="other.place")
    with pytest.raises(MisusedPlugin) as refused:
        ordered([first, again])
    assert str(refused.value) == ("io.test.a.v1.x: plugin: id already registered (by one.place, again by other.place)")


def test_a_short_id_stands_for_every_plugin_that_has_it_and_what_is_nobodys_id_for_itself():
    plugins = [registration(A, "content"), registration(B, "content"), registration(C, "other")]
    assert expand_short_ids(["content"], plugins) == {"io.test.a.v1.content", "io.test.b.v1.content"}
    assert expand_short_ids(["io.test.c.v1.other", "none"], plugins) == {"io.test.c.v1.other", "none"}
