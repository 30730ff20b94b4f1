import msgspec
import pytest
from holdfast.errors import MisusedPlugin
from holdfast.plugin import EVERYTHING, Kind, plugin

A, B = Kind("io.test.a.v1"), Kind("io.test.b.v1")


async def init(context):
    yield None


class Config(msgspec.Struct):
    many: int = 1


def test_a_registration_holds_what_the_decorator_was_told():
    made = plugin(A, "x", requires=(B,), config=Config, services=("a.Service",))(init)
    assert (made.uri, made.requires, made.config, made.services) == ("io.test.a.v1.x", (B,), Config, ("a.Service",))
    assert made.origin.endswith("test_registration.init")


def not_a_generator(context):
    return None


async def a_coroutine(context):
    return None


@pytest.mark.parametrize(
    ("arguments", "keywords", "function", "message"),
    [
        ((Kind(""), "x"), {}, init, "plugin: no type"),
        ((A, ""), {}, init, "plugin: no id"),
        ((A, "x"), {"requires": (EVERYTHING, B)}, init, "invalid requires: EVERYTHING must stand alone"),
        ((A, "x"), {"requires": (A,)}, init, "invalid requires: a plugin cannot require its own type"),
        (("io.test.a.v1", "x"), {}, init, "its kind must be a Kind, not 'io.test.a.v1'"),
        ((A, 5), {}, init, "its id must be a string, not 5"),
        ((A, "x"), {"requires": ["io.test.b.v1"]}, init, "requires must name kinds .* not 'io.test.b.v1'"),
        ((A, "x"), {"requires": "io.test.b.v1"}, init, "requires must be a list of kinds, not 'io.test.b.v1'"),
        ((A, "x"), {"requires": B}, init, "requires must be a list of kinds, not Kind"),
        ((A, "x"), {"services": "a.Service"}, init, "services must be a list of names, not 'a.Service'"),
        ((A, "x"), {"services": [5]}, init, "services must be names, not 5"),
        ((A, "x"), {"config": dict}, init, "config must be a msgspec.Struct"),
        ((A, "x"), {"config": Config()}, init, "config must be a msgspec.Struct"),
        ((A, "x"), {}, not_a_generator, "must be an async generator"),
        ((A, "x"), {}, a_coroutine, "must be an async generator"),
    ],
)
def test_what_can_never_work_is_refused_at_registration(arguments, keywords, function, message):
    with pytest.raises(MisusedPlugin, match=message):
        plugin(*arguments, **keywords)(function)
