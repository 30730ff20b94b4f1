import pytest
from holdfast.plugin import Kind, PluginSet, PluginState, Registration, State
from holdfast.plugin.serving import ServingBoard
from holdfast.server.faults import DAEMON, Faults

A = Kind("io.test.a.v1")


async def init(context):
    yield


@pytest.fixture
def board():
    made = ServingBoard()
    for name in (DAEMON, "a.A", "b.B", "c.C"):
        made.set(name, True)
    return made


@pytest.fixture
def state():
    return PluginState(Registration(A, "x", init), State.READY)


@pytest.fixture
def faults(board, state):
    plugins = PluginSet()
    plugins.add(state)
    return Faults(board, plugins, lambda owner: ["a.A", "b.B"], lambda owner: owner == "holdfast")


def serving(board):
    return [name for name in board.names() if board.serves(name)]


def test_a_fault_takes_what_relies_on_it_out_of_health_and_shows_in_the_plugin(board, state, faults):
    faults.set(state.uri, "job", "torn")
    assert (serving(board), state.faults, faults.vital) == ([DAEMON, "c.C"], {"job": "torn"}, False)
    faults.set(state.uri, "job", "")
    assert (serving(board), state.faults) == ([DAEMON, "a.A", "b.B", "c.C"], {})


def test_a_service_serves_again_only_when_its_last_fault_is_over_and_it_says_so_itself(board, state, faults):
    faults.set(state.uri, "one", "torn")
    faults.set("holdfast", "two", "torn")
    faults.set(state.uri, "one", "")
    assert board.serves("a.A") is False
    board.set("b.B", False)
    faults.set("holdfast", "two", "")
    assert serving(board) == [DAEMON, "a.A", "c.C"]


def test_a_vital_fault_is_the_daemons(board, state, faults):
    faults.set(state.uri, "engine", "hangs", vital=True)
    assert (board.serves(DAEMON), faults.vital) == (False, True)
    faults.set(state.uri, "engine", "", vital=True)
    assert (board.serves(DAEMON), faults.vital) == (True, False)
