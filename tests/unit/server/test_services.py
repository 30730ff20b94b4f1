import pytest
from holdfast.errors import ServedAlready
from holdfast.plugin import Kind, PluginSet, PluginState, State, plugin
from holdfast.plugin.serving import ServingBoard
from holdfast.server.services import Services

A = Kind("io.test.a.v1")
ALL = ("register_grpc", "register_tcp", "register_ttrpc")


class Table:
    def __init__(self):
        self.services = []

    def add(self, service):
        if service in self.services:
            raise ServedAlready(service, f"service {service}")
        self.services.append(service)

    def withdraw(self, service):
        self.services.remove(service)


class Offers:
    """An instance that registers these services by these methods."""

    def __init__(self, **services):
        for method, names in services.items():
            setattr(self, f"register_{method}", lambda table, names=names: [table.add(name) for name in names])


async def init(context):
    yield None


def a_plugin(name, instance, *declared):
    return PluginState(plugin(A, name, services=declared)(init), State.READY, instance)


@pytest.fixture
def made():
    """Services over tables by these methods; the board and the tables."""

    def make(*methods):
        board, tables = ServingBoard(), {method: Table() for method in methods}
        return Services(PluginSet(), board, tables), board, tables

    return make


def test_each_method_fills_its_own_table_and_health_has_what_the_node_serves(made):
    services, board, tables = made(*ALL)
    state = a_plugin("x", Offers(grpc=["a"], tcp=["b"], ttrpc=["c"]), "c")
    services.register(state)
    assert [table.services for table in tables.values()] == [["a"], ["b"], ["c"]]
    assert {name: board.serves(name) for name in "abc"} == {"a": True, "b": None, "c": True}
    assert services.unoffered(state) == []


def test_a_plugin_that_cannot_register_one_service_has_none_on_any_table(made):
    services, board, tables = made(*ALL)
    services.register(a_plugin("first", Offers(ttrpc=["c"])))
    state = a_plugin("second", Offers(grpc=["a"], tcp=["a"], ttrpc=["c"]))
    services.register(state)
    assert [table.services for table in tables.values()] == [[], [], ["c"]]
    assert (state.state, str(state.error)) == (
        State.FAILED,
        "service c: already exists (by plugin io.test.a.v1.first)",
    )
    assert board.serves("a") is None


def test_a_method_of_a_server_that_is_not_here_is_not_called(made):
    services, _, tables = made("register_grpc")
    services.register(a_plugin("x", Offers(grpc=["a"], tcp=["b"], ttrpc=["c"])))
    assert tables["register_grpc"].services == ["a"]


@pytest.mark.parametrize(
    ("methods", "offered", "missing"),
    [
        (ALL, {"grpc": ["a"]}, ["z"]),
        (ALL, {"grpc": ["a"], "tcp": ["a"]}, ["z"]),
        (("register_grpc",), {"grpc": ["a"], "tcp": ["a"]}, ["z"]),  # on TCP it has what it has on the node
        (("register_grpc",), {"tcp": ["z"]}, []),  # nobody asked
        (("register_grpc",), {"grpc": ["a"], "ttrpc": ["z"]}, []),
    ],
)
def test_a_service_that_is_declared_and_not_registered_is_missed_where_its_server_is_here(
    made, methods, offered, missing
):
    services, _, _ = made(*methods)
    state = a_plugin("x", Offers(**offered), "z")
    services.register(state)
    assert services.unoffered(state) == missing


def test_services_of_plugins_that_are_not_ready_are_not_serving():
    plugins, board = PluginSet(), ServingBoard()
    state = a_plugin("x", None, "z")
    state.state = State.FAILED
    plugins.add(state)
    Services(plugins, board, {}).mark_absent()
    assert board.serves("z") is False
