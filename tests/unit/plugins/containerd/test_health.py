from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc
from holdfast.plugin.serving import ServingBoard
from holdfast.plugins.containerd import health
from holdfast.plugins.containerd.health import Health

from tests.running import async_until
from tests.unit.rpc.serving import refused, serving

UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = 0, 1, 2, 3


@pytest.fixture
def board():
    made = ServingBoard()
    made.set("", False)
    made.set("a.v1.A", True)
    return made


@pytest.fixture
async def served(short_dir, board):
    made = Health(board)
    async with serving(short_dir, register=made.register_grpc) as running:
        running.health = made
        running.stub = health_pb2_grpc.HealthStub(running.channel)
        yield running


def asked(name: str = "") -> pb.HealthCheckRequest:
    return pb.HealthCheckRequest(service=name)


async def test_check_tells_what_the_board_says(served, board):
    assert (await served.stub.Check(asked())).status == NOT_SERVING
    assert (await served.stub.Check(asked("a.v1.A"))).status == SERVING
    board.set("", True)
    board.set("a.v1.A", False)
    assert (await served.stub.Check(asked())).status == SERVING
    assert (await served.stub.Check(asked("a.v1.A"))).status == NOT_SERVING


async def test_a_name_nobody_serves_is_not_found(served):
    assert await refused(served.stub.Check(asked("no.such"))) == ("NOT_FOUND", "unknown service")


async def test_more_watches_than_the_bound_are_refused_and_counted(served, monkeypatch):
    monkeypatch.setattr(health, "WATCHES_AT_MOST", 1)
    first = served.stub.Watch(asked())
    await first.read()
    second = served.stub.Watch(asked())
    with pytest.raises(grpc.aio.AioRpcError, match="1 clients watch already"):
        await second.read()
    assert served.health.refused.labels().value == 1
    first.cancel()


@pytest.mark.skipif(not hasattr(pb, "HealthListRequest"), reason="grpcio-health-checking before 1.85 has no List")
async def test_list_tells_all_of_it(served):
    statuses = (await served.stub.List(pb.HealthListRequest())).statuses
    assert {name: answer.status for name, answer in statuses.items()} == {"": NOT_SERVING, "a.v1.A": SERVING}


async def test_watch_tells_the_status_now_and_each_change_of_it(served, board):
    call = served.stub.Watch(asked("b.v1.B"))
    assert (await call.read()).status == SERVICE_UNKNOWN
    board.set("a.v1.A", False)  # somebody else's: nothing to tell
    board.set("b.v1.B", True)
    assert (await call.read()).status == SERVING
    board.set("b.v1.B", False)
    assert (await call.read()).status == NOT_SERVING
    call.cancel()


async def test_a_draining_daemon_is_not_serving_says_so_to_who_watches_and_ends_the_watch(served, board):
    watching = served.stub.Watch(asked("a.v1.A"))
    assert (await watching.read()).status == SERVING
    served.layer.gate.closed = True
    board.drain()
    assert (await watching.read()).status == NOT_SERVING
    assert await watching.read() is grpc.aio.EOF
    assert (await served.stub.Check(asked("a.v1.A"))).status == NOT_SERVING
    assert (await served.stub.Check(asked())).status == NOT_SERVING


async def test_a_drain_while_a_status_is_being_sent_is_told_too(board):
    statuses = Health(board).Watch(asked("a.v1.A"), None)
    assert (await anext(statuses)).status == SERVING
    board.drain()
    assert [one.status async for one in statuses] == [NOT_SERVING]


async def test_a_watcher_that_leaves_is_forgotten(short_dir, board):
    health = Health(board)
    async with serving(short_dir, register=health.register_grpc) as served:
        call = health_pb2_grpc.HealthStub(served.channel).Watch(asked())
        await call.read()
        assert len(health._watchers) == 1
        call.cancel()
        await async_until(lambda: not health._watchers)


async def test_health_is_not_counted(served):
    await served.stub.Check(asked())
    assert list(served.layer.counters._methods) == []
