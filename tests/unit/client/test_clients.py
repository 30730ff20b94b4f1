"""The Python client and its twin: the same methods, the requests they send, and their errors."""

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1.health_pb2 import HealthCheckResponse
from holdfast.api.config.v1.config_pb2 import ShowResponse
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.api.services.introspection.v1.introspection_pb2 import Plugin, PluginsResponse
from holdfast.api.services.version.v1.version_pb2 import VersionResponse
from holdfast.api.types.event_pb2 import Envelope
from holdfast.client import Client, SyncClient, Tls
from holdfast.errors import HoldfastError, NotFound, Unreachable

from tests.fakes.answering import answering

PAGE = Path(__file__).parents[3] / "docs" / "client.md"
RULE, PLACED = pb.RuleInfo(name="r"), pb.PlacementInfo(pid=7)
#: Method and arguments → the API's method, its answer, and what the caller gets.
CALLS = {
    "version": ((), {}, "Version", VersionResponse(version="1"), VersionResponse(version="1")),
    "serves": (("a.B",), {}, "Check", HealthCheckResponse(status=1), True),
    "plugins": (("id==x",), {}, "Plugins", PluginsResponse(plugins=[Plugin(id="x")]), [Plugin(id="x")]),
    "config": ((), {}, "Show", ShowResponse(hash="h"), ShowResponse(hash="h")),
    "status": ((), {}, "Status", pb.StatusResponse(events="e"), pb.StatusResponse(events="e")),
    "rules": ((), {}, "ListRules", pb.ListRulesResponse(rules=[RULE]), [RULE]),
    "processes": (("r",), {}, "ListPlacements", pb.ListPlacementsResponse(placements=[PLACED]), [PLACED]),
    "explain": ((7,), {}, "Explain", pb.ExplainResponse(notes=["n"]), pb.ExplainResponse(notes=["n"])),
    "preview": (("r",), {}, "Preview", pb.PreviewResponse(looked_at=1), pb.PreviewResponse(looked_at=1)),
    "victims": (("/g",), {"limit": 3}, "Victims", pb.VictimsResponse(page_bytes=1), pb.VictimsResponse(page_bytes=1)),
    "kills": ((5,), {}, "Kills", pb.KillsResponse(page_bytes=1), pb.KillsResponse(page_bytes=1)),
    "hold": ((7, -5), {"for_s": 1.5, "reason": "w"}, "Hold", PLACED, PLACED),
    "release": ((7,), {}, "Release", pb.ReleaseResponse(), None),
    "restore": (("r",), {"pid": 7}, "Restore", pb.RestoreResponse(left=1), pb.RestoreResponse(left=1)),
}
STREAMS = {
    "watch": ("r", "Watch", [pb.Report(pid=pid, at=Timestamp(seconds=1)) for pid in (1, 2)]),
    "events": ("topic==x", "Subscribe", [Envelope(topic="/a"), Envelope(topic="/b")]),
}


@pytest.fixture
def daemon(tmp_path):
    with answering(f"unix:{tmp_path}/s") as answers:
        answers.address = f"{tmp_path}/s"
        yield answers


def by_asyncio(address, act, **options):
    async def run():
        async with Client(address, **options) as client:
            return await act(client)

    return asyncio.run(run())


def called(kind, address, name, arguments, named):
    if kind is Client:
        return by_asyncio(address, lambda client: getattr(client, name)(*arguments, **named))
    with SyncClient(address) as client:
        return getattr(client, name)(*arguments, **named)


def public(kind):
    return {name: each for name, each in vars(kind).items() if not name.startswith("_")}


def test_the_twins_have_the_same_methods_parameters_and_results():
    ours, theirs = public(Client), public(SyncClient)
    assert list(ours) == list(theirs) == [*CALLS, *STREAMS]
    for name in ours:
        here, there = inspect.signature(ours[name]), inspect.signature(theirs[name])
        assert here.parameters == there.parameters
        assert here.return_annotation.removeprefix("Async") == there.return_annotation
        assert inspect.getdoc(ours[name]) == inspect.getdoc(theirs[name])
    assert inspect.signature(Client.__init__) == inspect.signature(SyncClient.__init__)


@pytest.mark.parametrize("kind", [Client, SyncClient])
@pytest.mark.parametrize("name", CALLS)
def test_a_method_is_a_call_of_the_api(daemon, kind, name):
    arguments, named, method, answer, expected = CALLS[name]
    daemon.by_method[method] = answer
    assert called(kind, daemon.address, name, arguments, named) == expected
    assert daemon.calls == [method]


def test_the_arguments_are_in_the_request(daemon):
    with SyncClient(daemon.address, namespace="k8s.io") as client:
        client.hold(7, -5, for_s=1.5, reason="w")
        client.preview(rules_yaml="[]")
        client.victims("/g", limit=3)
    hold, preview, victims = daemon.requests
    request = pb.HoldRequest.FromString(hold)
    assert (request.pid, request.oom_score_adj, request.ttl.ToNanoseconds(), request.reason) == (7, -5, 1500000000, "w")
    assert pb.TryRequest.FromString(preview).rules_yaml == "[]"
    assert pb.VictimsRequest.FromString(victims) == pb.VictimsRequest(cgroup="/g", limit=3, read_mask=FieldMask())
    assert daemon.calls == ["Hold", "Try", "Victims"]


@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_a_list_is_asked_for_with_filters_fields_and_in_pages(daemon, kind):
    def page(data):
        request = pb.ListPlacementsRequest.FromString(data)
        at = int(request.page_token or 1)
        return pb.ListPlacementsResponse(
            placements=[pb.PlacementInfo(pid=at)], next_page_token=str(at + 1) if at < 3 else ""
        )

    daemon.by_method["ListPlacements"] = page
    named = {"filters": ["state==held"], "fields": ["pid", "pod.name"], "page_size": 1}
    assert [one.pid for one in called(kind, daemon.address, "processes", ("r",), named)] == [1, 2, 3]
    requests = [pb.ListPlacementsRequest.FromString(data) for data in daemon.requests]
    assert [one.page_token for one in requests] == ["", "2", "3"]
    assert {one.rule for one in requests} == {"r"}
    assert {(*one.filters, *one.read_mask.paths) for one in requests} == {("state==held", "pid", "pod.name")}


@pytest.mark.parametrize("kind", [Client, SyncClient])
@pytest.mark.parametrize(
    ("name", "method", "named", "page"),
    [
        ("victims", "Victims", {}, lambda at: pb.VictimsResponse(rankings=[pb.Ranking(domain=f"/{at}")], page_bytes=7)),
        ("preview", "Preview", {}, lambda at: pb.PreviewResponse(planned=[pb.Planned()], looked_at=7)),
        ("preview", "Try", {"rules_yaml": "[]"}, lambda at: pb.PreviewResponse(planned=[pb.Planned()], looked_at=7)),
    ],
)
def test_the_pages_of_an_answer_become_one_answer(daemon, kind, name, method, named, page):
    requested = {"Victims": pb.VictimsRequest, "Preview": pb.PreviewRequest, "Try": pb.TryRequest}[method]

    def answer(data):
        at = int(requested.FromString(data).page_token or 1)
        made = page(at)
        made.next_page_token = str(at + 1) if at < 3 else ""
        return made

    daemon.by_method[method] = answer
    chosen = {"filters": ["a==b"], "fields": ["c"], "page_size": 1}
    whole = called(kind, daemon.address, name, (), {**named, **chosen})
    expected = page(1)
    for at in (2, 3):
        expected.MergeFrom(page(at))
    assert whole == expected
    requests = [requested.FromString(data) for data in daemon.requests]
    assert [(one.page_size, one.page_token) for one in requests] == [(1, ""), (1, "2"), (1, "3")]
    assert {(*one.filters, *one.read_mask.paths) for one in requests} == {("a==b", "c")}


def test_filters_and_fields_are_in_the_request_of_every_list(daemon):
    chosen = {"filters": ["a==b"], "fields": ["c"]}
    with SyncClient(daemon.address) as client:
        client.rules(**chosen)
        client.preview("r", **chosen)
        client.kills(3, **chosen)
        next(client.watch("r", filters=["a==b"]), None)
    rules, preview, kills, watch = daemon.requests
    assert pb.WatchRequest.FromString(watch) == pb.WatchRequest(rule="r", filters=["a==b"], bookmarks=True)
    mask = FieldMask(paths=["c"])
    assert pb.ListRulesRequest.FromString(rules) == pb.ListRulesRequest(filters=["a==b"], read_mask=mask)
    assert pb.PreviewRequest.FromString(preview) == pb.PreviewRequest(rule="r", filters=["a==b"], read_mask=mask)
    assert pb.KillsRequest.FromString(kills) == pb.KillsRequest(limit=3, filters=["a==b"], read_mask=mask)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_yields_until_it_ends_and_may_be_left(daemon, name):
    argument, method, messages = STREAMS[name]
    daemon.by_method[method] = messages

    async def collect(client):
        return [one async for one in getattr(client, name)(argument)]

    assert by_asyncio(daemon.address, collect) == messages
    with SyncClient(daemon.address) as client:
        assert list(getattr(client, name)(argument)) == messages
        daemon.endless = {method}
        for one in getattr(client, name)(argument):
            assert one == messages[0]
            break

    async def first(client):
        return await anext(getattr(client, name)(argument))

    assert by_asyncio(daemon.address, first) == messages[0]


@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_a_refusal_is_our_error_with_the_daemons_words(daemon, kind):
    daemon.refusal = grpc.StatusCode.NOT_FOUND, "process 7: not found"
    with pytest.raises(NotFound, match=r"^process 7: not found$"):
        called(kind, daemon.address, "explain", (7,), {})
    daemon.refusal = grpc.StatusCode.UNAVAILABLE, "gone"
    with pytest.raises(Unreachable, match=re.escape(daemon.address)):
        called(kind, daemon.address, "status", (), {})


@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_a_daemon_that_is_not_there_is_unreachable(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFAST_ADDRESS", f"{tmp_path}/none")
    with pytest.raises(Unreachable, match=f"^{tmp_path}/none: cannot connect: "):
        called(kind, None, "status", (), {})
    with pytest.raises(HoldfastError, match="TLS options are for tcp:// addresses"):
        SyncClient("/x.sock", tls=Tls(server_name="x")).__enter__()


def test_an_import_of_the_client_brings_neither_grpc_nor_protobuf():
    script = "import sys, holdfast.client; sys.exit(sum(name in sys.modules for name in ('grpc', 'google.protobuf')))"
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


def test_the_page_names_every_method_once_and_its_programs_are_python():
    text = PAGE.read_text()
    assert re.findall(r"^\| `(\w+)\(", text, re.MULTILINE) == [*CALLS, *STREAMS]
    for program in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(program, str(PAGE), "exec", flags=0x2000)  # PyCF_ALLOW_TOP_LEVEL_AWAIT
