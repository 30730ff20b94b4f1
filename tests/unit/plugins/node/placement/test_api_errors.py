"""The errors of the placement API as a client sees them: over a real server, with reason and field."""

import re
from concurrent.futures import Future
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub
from holdfast.client import SyncClient
from holdfast.client.connection import errors_of
from holdfast.errors import (
    Code,
    FailedPrecondition,
    HoldfastError,
    KernelRefused,
    NotFound,
    ProcessGone,
    Unavailable,
    Unreadable,
)
from holdfast.plugins.node.placement import error_reason, report_log
from holdfast.plugins.node.placement import service as module
from holdfast.plugins.node.placement.report_log import ReportLog
from holdfast.plugins.node.placement.service import PlacementService

from tests.fakes.engine import RULES, InForce, StandIn, served


@pytest.fixture
def engine():
    return StandIn()


@pytest.fixture
def service(engine):
    return PlacementService(engine, InForce(*RULES), ReportLog())


def failing(error):
    future = Future()
    future.set_exception(error)
    return future


async def refusal(client, method, request):
    """The error of a call, as `holdfast.client` gives it."""
    call = getattr(PlacementStub(client._channel), method)(request)
    with pytest.raises(HoldfastError) as caught, errors_of(client._target):
        await (call.read() if method == "Watch" else call)
    return caught.value.code, caught.value.reason, caught.value.field


WRONG = {
    "no pid": ("Explain", pb.ExplainRequest(), (Code.INVALID_ARGUMENT, "INVALID_FIELD", "pid")),
    "no process": ("Explain", pb.ExplainRequest(pid=4242), (Code.NOT_FOUND, "PROCESS_NOT_FOUND", "")),
    "no such rule": ("ListPlacements", pb.ListPlacementsRequest(rule="x"), (Code.NOT_FOUND, "RULE_NOT_FOUND", "rule")),
    "no such rule to watch": ("Watch", pb.WatchRequest(rule="x"), (Code.NOT_FOUND, "RULE_NOT_FOUND", "rule")),
    "no token": (
        "Watch",
        pb.WatchRequest(resume_token="x"),
        (Code.INVALID_ARGUMENT, "INVALID_FIELD", "resume_token"),
    ),
    "a token of another run": (
        "Watch",
        pb.WatchRequest(resume_token="00000000.1"),
        (Code.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED", "resume_token"),
    ),
    "no such group": ("Victims", pb.VictimsRequest(cgroup="/x"), (Code.NOT_FOUND, "CGROUP_NOT_FOUND", "cgroup")),
    "rules that are none": (
        "Try",
        pb.TryRequest(rules_yaml="- {name: x}"),
        (Code.INVALID_ARGUMENT, "INVALID_FIELD", "rules_yaml"),
    ),
    "long names in rules": (
        "Try",
        pb.TryRequest(rules_yaml="- {name: " + "é" * 20_000 + "}"),
        (Code.INVALID_ARGUMENT, "INVALID_FIELD", "rules_yaml"),
    ),
    "too many rules": (
        "Try",
        pb.TryRequest(rules_yaml="#" * (256 * 1024 + 1)),
        (Code.INVALID_ARGUMENT, "INVALID_FIELD", "rules_yaml"),
    ),
    "no time": (
        "Hold",
        pb.HoldRequest(pid=50, ttl=Duration(seconds=-1)),
        (Code.INVALID_ARGUMENT, "INVALID_FIELD", "ttl"),
    ),
    "out of range": (
        "Hold",
        pb.HoldRequest(pid=50, oom_score_adj=2000),
        (Code.INVALID_ARGUMENT, "INVALID_FIELD", "oom_score_adj"),
    ),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_request_is_named_by_reason_and_field(service, short_dir, case):
    method, request, expected = WRONG[case]
    async with served(service, short_dir) as client:
        assert await refusal(client, method, request) == expected


ENGINES = {
    "PROCESS_NOT_FOUND": ProcessGone("7"),
    "PROCESS_UNREADABLE": Unreadable("7"),
    "KERNEL_REFUSED": KernelRefused("write", "/x", 16),
    "OVERRIDE_NOT_FOUND": NotFound("override of process 7"),
    "OVERRIDE_REFUSED": FailedPrecondition("1 cannot be overridden"),
    "ENGINE_UNAVAILABLE": Unavailable("the placement engine has ended"),
}


@pytest.mark.parametrize("reason", ENGINES)
async def test_an_error_of_the_engine_has_a_reason(service, engine, short_dir, monkeypatch, reason):
    error = ENGINES[reason]
    monkeypatch.setattr(engine, "release", lambda pid: failing(error))
    async with served(service, short_dir) as client:
        assert await refusal(client, "Release", pb.ReleaseRequest(pid=7)) == (error.code, reason, "")


async def test_an_engine_that_hangs_is_the_reason(service, engine, short_dir):
    engine.trouble = "the placement engine has hung for 11 s"
    async with served(service, short_dir) as client:
        assert await refusal(client, "Status", pb.StatusRequest()) == (Code.UNAVAILABLE, "ENGINE_UNAVAILABLE", "")


async def test_a_bound_is_the_reason(service, short_dir, monkeypatch):
    monkeypatch.setattr(report_log, "WATCHERS_AT_MOST", 0)
    monkeypatch.setattr(module, "TRIES_S", -1.0)
    async with served(service, short_dir) as client:
        watch = await refusal(client, "Watch", pb.WatchRequest())
        tried = await refusal(client, "Try", pb.TryRequest(rules_yaml="[]"))
    assert watch == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS", "")
    assert tried == (Code.RESOURCE_EXHAUSTED, "RULES_TOO_SLOW", "rules_yaml")


def test_every_reason_is_in_the_api_and_every_one_of_the_api_is_given():
    """Reasons are strings in the code, so that an error needs no protobuf; their names are the enum's."""
    folder = Path(module.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    given = set(re.findall(r'reason(?:=|, error.field = )"(\w+)"', text)) | {word for _, word in error_reason.REASONS}
    assert given == set(pb.ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}


def test_a_field_is_one_line_for_a_program_without_asyncio(service, short_dir):
    """As on docs/client.md."""
    import asyncio
    import threading

    ready, over = threading.Event(), threading.Event()

    async def serve():
        async with served(service, short_dir):
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        with SyncClient(f"{short_dir}/s") as client, pytest.raises(HoldfastError) as caught:
            client.hold(1234, 2000)
    finally:
        over.set()
        thread.join()
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", "oom_score_adj")
