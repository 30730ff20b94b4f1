import msgspec
import pytest
from holdfast.errors import ConfigError
from holdfast.server.reload import Reloadable, ReloadResult, flattened, unflattened


class Inner(msgspec.Struct):
    level: str = "info"


class Outer(msgspec.Struct):
    root: str = "/r"
    debug: Inner = msgspec.field(default_factory=Inner)
    plugins: dict = msgspec.field(default_factory=dict)


def applied(reloadable, old, new):
    reloadable.begin(old)
    return reloadable.apply(new)


def test_what_was_changed_can_be_changed_back():
    seen = []
    reloadable = Reloadable()
    reloadable.on("a", seen.append)
    reloadable.begin({"a": 1, "b": 1})
    assert reloadable.apply({"a": 2, "b": 2}) == ReloadResult(("a",), ("b",))
    assert reloadable.apply({"a": 1, "b": 2}) == ReloadResult(("a",), ("b",))
    assert reloadable.apply({"a": 1, "b": 1}) == ReloadResult((), ())
    assert seen == [2, 1]


def test_a_refused_change_leaves_what_was_in_force_and_is_refused_again():
    seen = []

    def only_small(value):
        if value > 2:
            raise ConfigError("too large")
        seen.append(value)

    reloadable = Reloadable()
    reloadable.on("a", only_small)
    reloadable.begin({"a": 1})
    reloadable.apply({"a": 2})
    for _ in range(2):
        with pytest.raises(ConfigError, match="too large"):
            reloadable.apply({"a": 3})
    assert reloadable.apply({"a": 2}) == ReloadResult((), ())
    assert seen == [2]


def test_what_was_touched_is_put_in_force_again_though_it_is_the_same():
    seen = []
    reloadable = Reloadable()
    reloadable.on("a", seen.append)
    reloadable.begin({"a": 1})
    reloadable.touch("a")
    assert reloadable.apply({"a": 1}) == ReloadResult(("a",), ())
    assert reloadable.apply({"a": 1}) == ReloadResult((), ())
    assert seen == [1]


def test_what_could_not_be_taken_back_is_put_in_force_by_the_next_reload():
    seen, breaks = [], [False, True]

    def sometimes(value):
        if breaks and breaks.pop(0):
            raise ValueError("torn")
        seen.append(value)

    def refuse(value):
        if value == 2:
            raise ConfigError("no")

    reloadable = Reloadable()
    reloadable.on("a", sometimes)
    reloadable.on("b", refuse)
    reloadable.begin({"a": 1, "b": 1})
    with pytest.raises(ConfigError, match="no"):
        reloadable.apply({"a": 2, "b": 2})
    assert reloadable.apply({"a": 1, "b": 1}).applied == ("a",)
    assert seen == [2, 1]


def test_settings_are_compared_by_dotted_key_and_plugins_by_section():
    assert flattened(Outer(), {"io.x.v1.y": 1}) == {"root": "/r", "debug.level": "info", "plugins.io.x.v1.y": 1}


def test_what_has_a_callback_is_applied_and_the_rest_waits_for_a_restart():
    seen = []
    reloadable = Reloadable()
    reloadable.on("debug.level", seen.append)
    change = applied(reloadable, {"root": "/a", "debug.level": "info"}, {"root": "/b", "debug.level": "debug"})
    assert change == ReloadResult(applied=("debug.level",), needs_restart=("root",))
    assert seen == ["debug"]


def test_nothing_changed_calls_nobody():
    reloadable = Reloadable()
    reloadable.on("a", lambda value: pytest.fail("called"))
    assert applied(reloadable, {"a": 1}, {"a": 1}) == ReloadResult((), ())


def test_one_refusal_takes_back_what_was_applied():
    seen = []

    def refuse(value):
        raise ConfigError("config.yaml:3: plugins.z: no")

    reloadable = Reloadable()
    reloadable.on("a", seen.append)
    reloadable.on("b", refuse)
    with pytest.raises(ConfigError, match=r"^config\.yaml:3: plugins\.z: no$"):
        applied(reloadable, {"a": 1, "b": 1}, {"a": 2, "b": 2})
    assert seen == [2, 1]


def test_a_callback_that_breaks_is_a_refusal_that_names_the_key():
    def broken(value):
        raise ValueError("torn")

    reloadable = Reloadable()
    reloadable.on("b", broken)
    with pytest.raises(ConfigError, match=r"^b: ValueError: torn$"):
        applied(reloadable, {"b": 1}, {"b": 2})


def test_a_closed_plugin_is_not_told_any_more():
    reloadable = Reloadable()
    reloadable.on("plugins.x", lambda value: pytest.fail("called"))
    reloadable.off("plugins.x")
    assert applied(reloadable, {"plugins.x": 1}, {"plugins.x": 2}) == ReloadResult((), ("plugins.x",))


def test_what_was_touched_comes_last_and_is_left_alone_when_another_key_is_refused():
    seen = []

    def refuse(value):
        raise ConfigError("no")

    reloadable = Reloadable()
    reloadable.on("a", seen.append)
    reloadable.on("b", refuse)
    reloadable.begin({"a": 1, "b": 1})
    reloadable.touch("a")
    with pytest.raises(ConfigError, match="no"):
        reloadable.apply({"a": 2, "b": 2})
    assert seen == []
    assert reloadable.apply({"a": 1, "b": 1}) == ReloadResult(("a",), ())
    assert seen == [1]


def test_of_two_that_were_touched_the_first_goes_back_to_its_value_when_the_second_is_refused():
    seen = []

    def refuse(value):
        raise ConfigError("no")

    reloadable = Reloadable()
    reloadable.on("a", seen.append)
    reloadable.on("b", refuse)
    reloadable.begin({"a": 1, "b": 1})
    reloadable.touch("a")
    reloadable.touch("b")
    with pytest.raises(ConfigError, match="no"):
        reloadable.apply({"a": 2, "b": 1})
    assert seen == [2, 1]


def test_a_callback_that_broke_on_the_way_is_asked_again_for_what_was_in_force():
    seen = []

    def torn(value):
        seen.append(value)
        if value == 2:
            raise ValueError("torn")

    reloadable = Reloadable()
    reloadable.on("a", torn)
    reloadable.begin({"a": 1})
    with pytest.raises(ConfigError, match="a: ValueError: torn"):
        reloadable.apply({"a": 2})
    assert reloadable.apply({"a": 1}) == ReloadResult(("a",), ())
    assert seen == [2, 1]


def test_settings_come_back_from_their_keys():
    settings = Outer(root="/x", debug=Inner(level="trace"), plugins={"p": 1})
    flat = flattened(settings, {})
    assert unflattened(Outer(plugins={"p": 1}), flat) == settings
    assert unflattened(settings, {"debug.level": "warn"}) == Outer("/x", Inner("warn"), {"p": 1})
