"""What tab completion offers of a daemon's own things."""

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from holdfast.api.bundle.v1 import bundle_pb2
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.cli.group import cli

from tests.fakes.answering import answering

RULES = ("db", "web", "w\x1b[2J", "w x")  # two of them are no words for a shell
LISTS = pytest.mark.skipif(
    not hasattr(health_pb2, "HealthListRequest"), reason="grpcio-health-checking before 1.85 has no List"
)


@pytest.fixture
def daemon(tmp_path):
    with answering(f"unix:{tmp_path}/s") as answers:
        answers.address = f"{tmp_path}/s"
        pod = pb.Pod(namespace="db", name="pg-0")
        answers.by_method = {
            "ListRules": pb.ListRulesResponse(rules=[pb.RuleInfo(name=name) for name in RULES]),
            "ListPlacements": pb.ListPlacementsResponse(placements=[pb.PlacementInfo(pid=71, comm="p", pod=pod)]),
            "Victims": pb.VictimsResponse(rankings=[pb.Ranking(domain="/"), pb.Ranking(domain="/web")]),
            "Kills": pb.KillsResponse(kills=[pb.Kill(pid=72, at=Timestamp(seconds=1))]),
            "List": bundle_pb2.ListResponse(bundles=[bundle_pb2.Bundle(name="b:1", digest="sha256:0")]),
        }
        yield answers


def offered(words, address):
    environment = {
        "_HOLDFAST_COMPLETE": "bash_complete",
        "COMP_WORDS": f"holdfast {words}",
        "COMP_CWORD": str(len(words.split(" "))),
        "HOLDFAST_ADDRESS": address,
    }
    output = CliRunner().invoke(cli, [], prog_name="holdfast", env=environment).output
    return [line.partition(",")[2] for line in output.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("ps --rule ", ["db", "web"]),
        ("ps --rule w", ["web"]),
        ("preview --rule d", ["db"]),
        ("restore --rule d", ["db"]),
        ("restore --pid ", ["71"]),
        ("explain ", ["71"]),
        ("hold ", ["71"]),
        ("release 7", ["71"]),
        ("ps -n ", ["db"]),
        ("ps --pod p", ["pg-0"]),
        ("victims --cgroup ", ["/web"]),
        ("kills ", ["72"]),
        ("bundle apply ", ["b:1"]),
        ("rules builtin batch-", ["batch-pods"]),
    ],
)
def test_the_daemons_things_are_offered(daemon, words, values):
    assert offered(words, daemon.address) == values


@LISTS
def test_services_are_offered(daemon):
    statuses = {name: health_pb2.HealthCheckResponse(status=1) for name in ("", "a.B")}
    daemon.by_method["List"] = health_pb2.HealthListResponse(statuses=statuses)
    assert offered("health ", daemon.address) == ["a.B"]


def test_a_daemon_that_is_not_there_or_refuses_offers_nothing_and_says_nothing(daemon, tmp_path):
    assert offered("ps --rule ", f"{tmp_path}/none") == []
    daemon.refusal = grpc.StatusCode.PERMISSION_DENIED, "no"
    assert offered("ps --rule ", daemon.address) == []
