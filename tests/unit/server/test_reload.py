import msgspec
import pytest
from holdfast.errors import ConfigError
from holdfast.server.reload import Change, Reloadable, flattened


class Inner(msgspec.Struct):
    level: str = "info"


class Outer(msgspec.Struct):
    root: str = "/r"
    debug: Inner = msgspec.field(default_factory=Inner)
    plugins: dict = msgspec.field(default_factory=dict)


def test_settings_are_compared_by_dotted_key_and_plugins_by_section():
    assert flattened(Outer(), {"io.x.v1.y": 1}) == {"root": "/r", "debug.level": "info", "plugins.io.x.v1.y": 1}


def test_what_has_a_callback_is_applied_and_the_rest_waits_for_a_restart():
    seen = []
    reloadable = Reloadable()
    reloadable.on("debug.level", seen.append)
    change = reloadable.apply({"root": "/a", "debug.level": "info"}, {"root": "/b", "debug.level": "debug"})
    assert change == Change(applied=("debug.level",), needs_restart=("root",))
    assert seen == ["debug"]


def test_nothing_changed_calls_nobody():
    reloadable = Reloadable()
    reloadable.on("a", lambda value: pytest.fail("called"))
    assert reloadable.apply({"a": 1}, {"a": 1}) == Change((), ())


def test_one_refusal_takes_back_what_was_applied():
    seen = []

    def refuse(value):
        raise ConfigError("config.yaml:3: plugins.z: no")

    reloadable = Reloadable()
    reloadable.on("a", seen.append)
    reloadable.on("b", refuse)
    with pytest.raises(ConfigError, match=r"^config\.yaml:3: plugins\.z: no$"):
        reloadable.apply({"a": 1, "b": 1}, {"a": 2, "b": 2})
    assert seen == [2, 1]


def test_a_callback_that_breaks_is_a_refusal_that_names_the_key():
    def broken(value):
        raise ValueError("torn")

    reloadable = Reloadable()
    reloadable.on("b", broken)
    with pytest.raises(ConfigError, match=r"^b: ValueError: torn$"):
        reloadable.apply({"b": 1}, {"b": 2})


def test_a_closed_plugin_is_not_told_any_more():
    reloadable = Reloadable()
    reloadable.on("plugins.x", lambda value: pytest.fail("called"))
    reloadable.off("plugins.x")
    assert reloadable.apply({"plugins.x": 1}, {"plugins.x": 2}) == Change((), ("plugins.x",))
