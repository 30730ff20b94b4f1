import pytest
from holdfast.config import Settings
from holdfast.config.schema import Debug, Grpc, Metrics, Web
from holdfast.errors import SkipPlugin
from holdfast.metrics import Registry
from holdfast.plugin import InitContext, Kind, PluginSet, PluginState, State, plugin, server
from holdfast.plugin.context import Places
from holdfast.plugin.serving import ServingBoard
from holdfast.plugins import SERVERS, SHIPPED, registrations, shipped
from holdfast.plugins.kinds import SERVER

BY_ID = {one.id: one for one in shipped() if one.kind == SERVER}


class Offers:
    def register_tcp(self, registrar):
        raise AssertionError("not at the init")

    register_ttrpc = register_tcp


async def init(context):
    yield None


def context_of(registration, settings, *instances):
    plugins = PluginSet()
    for number, instance in enumerate(instances):
        plugins.add(PluginState(plugin(Kind("io.test.a.v1"), f"p{number}")(init), State.READY, instance))
    places = Places("/r", "/s", "a", "a.ttrpc")
    return InitContext(registration, None, settings, places, plugins, Registry(), ServingBoard(), None)


async def outcome(name, settings, *instances):
    """The words of a skip, or nothing."""
    registration = BY_ID[name]
    starting = registration.init(context_of(registration, settings, *instances))
    try:
        assert hasattr(await anext(starting), "start")
    except SkipPlugin as skip:
        return str(skip)
    finally:
        await starting.aclose()
    return ""


TCP = Settings(grpc=Grpc(tcp_address="127.0.0.1:0"))
NONE = Settings(metrics=Metrics(address=""), web=Web(address=""))


@pytest.mark.parametrize(
    ("name", "settings", "instances", "words"),
    [
        ("grpc", NONE, [], ""),
        ("grpc-tcp", NONE, [Offers()], "skip plugin"),
        ("grpc-tcp", TCP, [object()], "no tcp grpc services configured: skip plugin"),
        ("grpc-tcp", TCP, [Offers()], ""),
        ("ttrpc", NONE, [object()], "no ttrpc services configured: skip plugin"),
        ("ttrpc", NONE, [Offers()], ""),
        ("metrics", NONE, [], "skip plugin"),
        ("metrics", Settings(), [], ""),
        ("debug", NONE, [], "skip plugin"),
        ("debug", Settings(debug=Debug(address="/run/d.sock")), [], ""),
        ("web", NONE, [], "skip plugin"),
        ("web", Settings(web=Web(address="127.0.0.1:0")), [], ""),
        ("health", NONE, [], "skip plugin"),
        ("health", Settings(grpc=Grpc(health_address="127.0.0.1:0")), [], ""),
    ],
)
async def test_each_is_skipped_when_containerd_skips_it(name, settings, instances, words):
    assert await outcome(name, settings, *instances) == words


def test_a_server_without_an_address_has_no_endpoint():
    found = {name: [one.purpose for one in server.endpoints(NONE, None)] for name, server in BY_ID.items()}
    assert {name for name, purposes in found.items() if purposes} == {"grpc", "ttrpc"}


def test_they_come_last_and_grpc_is_the_last_of_them():
    found = registrations(Settings())
    ids = ["debug", "metrics", "web", "ttrpc", "grpc-tcp", "health", "grpc"]
    assert [one.id for one in found[-len(SERVERS) :]] == ids
    assert len(found) >= len(SHIPPED) + len(SERVERS)


def test_a_server_of_another_package_opens_before_ours(tmp_path, monkeypatch):
    (tmp_path / "brought.py").write_text(
        "from holdfast.plugin import Kind, plugin, server\n"
        "async def init(context):\n    yield None\n"
        "listens = server('mine', lambda settings, config: [])(init)\n"
        "serves = plugin(Kind('io.test.a.v1'), 'x')(init)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = [one.id for one in registrations(Settings(), ["brought:listens", "brought:serves"])]
    assert found[-len(SERVERS) - 2 : -len(SERVERS)] == ["x", "mine"]


def test_the_decorator_makes_a_server_with_its_endpoints():
    made = server("x", list)(init)
    assert (made.uri, made.endpoints) == ("io.containerd.server.v1.x", list)
