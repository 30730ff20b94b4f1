"""One screen of 80 columns and 24 lines that says whether all is well."""

import json

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckResponse
from holdfast.api.config.v1.config_pb2 import ShowResponse
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.api.services.introspection.v1.introspection_pb2 import Plugin, PluginsResponse
from holdfast.api.services.version.v1.version_pb2 import VersionResponse
from holdfast.cli.group import cli
from holdfast.cli.main import call

from tests.fakes.answering import answering

AT = Timestamp(seconds=1_700_000_000)


def placements(number):
    refusal = pb.Refusal(reason="capability", detail="CAP_SYS_RESOURCE is missing")
    return [
        pb.PlacementInfo(
            pid=9 + at,
            comm="post\x1b[2J",
            rule="db",
            state="refused" if at else "held",
            oom_score_adj=-900,
            since=Timestamp(seconds=AT.seconds + at),
            refusals=[refusal] * bool(at),
        )
        for at in range(number)
    ]


@pytest.fixture
def daemon(tmp_path):
    with answering(f"unix:{tmp_path}/s") as answers:
        answers.address = f"{tmp_path}/s"
        order = pb.Order(candidates=[pb.Candidate(pid=5, comm="chrome", points=1)])
        answers.by_method = {
            "Check": HealthCheckResponse(status=HealthCheckResponse.SERVING),
            "Version": VersionResponse(version="1.2.3"),
            "Show": ShowResponse(hash="a" * 64, in_force_since=AT, refused="c.yaml:1: bad", needs_restart=["metrics"]),
            "Plugins": PluginsResponse(plugins=[Plugin(id="nri", init_err=Status(code=2, message="no socket"))]),
            "Status": pb.StatusResponse(last_sweep_processes=65, last_sweep=Duration(nanos=105_000_000)),
            "ListRules": pb.ListRulesResponse(rules=[pb.RuleInfo(name="db"), pb.RuleInfo(name="x", dry_run=True)]),
            "ListPlacements": pb.ListPlacementsResponse(placements=placements(3)),
            "Victims": pb.VictimsResponse(rankings=[pb.Ranking(domain="/", now=order)]),
            "Kills": pb.KillsResponse(kills=[pb.Kill(pid=7, comm="batch", at=AT, domain="/")]),
        }
        yield answers


def run(daemon, *words):
    return CliRunner().invoke(cli, ["status", *words, "-a", daemon.address], catch_exceptions=False)


def test_it_says_how_the_daemon_is_what_it_holds_what_is_missing_and_what_changed(daemon):
    result = run(daemon)
    assert result.exit_code == 0
    assert result.output.replace(daemon.address, "ADDRESS").splitlines() == [
        "holdfast 1.2.3 at ADDRESS serves",
        "  configuration  aaaaaaaaaaaa, in force since 2023-11-14 22:13:20 UTC",
        "  events         process events arrive; last rescan 65 processes in 105 ms",
        "  rules          1 on, 1 dry run",
        "  processes      1 held, 2 refused",
        "  next victim    chrome (5)",
        "missing",
        "  the files are refused: c.yaml:1: bad",
        "  waits for a restart: metrics",
        "  plugin nri: no socket",
        "  2 × CAP_SYS_RESOURCE is missing [capability]",
        "last changes (UTC)",
        "  2023-11-14 22:13:22  post\\x1b[2J (11) refused by db: oom_score_adj -900",
        "  2023-11-14 22:13:21  post\\x1b[2J (10) refused by db: oom_score_adj -900",
        "  2023-11-14 22:13:20  post\\x1b[2J (9) held by db: oom_score_adj -900",
        "  2023-11-14 22:13:20  OOM kill: batch (7), the node ran out",
    ]


def test_process_events_that_do_not_arrive_are_missing(daemon):
    daemon.by_method["Status"] = pb.StatusResponse(events="operation not permitted")
    assert "  process events: operation not permitted" in run(daemon).output.splitlines()


def test_it_fits_on_a_screen_whatever_there_is(daemon):
    details = [pb.Refusal(reason=f"r{at}", detail=f"because of {at}") for at in range(50)]
    daemon.by_method["ListPlacements"] = pb.ListPlacementsResponse(
        placements=[*placements(100), pb.PlacementInfo(pid=1, refusals=details)]
    )
    lines = run(daemon).output.splitlines()
    assert len(lines) <= 24
    assert any(line.startswith("  … and ") for line in lines)


def test_a_daemon_that_does_not_serve_is_1(daemon, capsys):
    daemon.by_method["Check"] = HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
    assert call(["status", "-a", daemon.address]) == 1
    assert "does not serve: holdfast health --all" in capsys.readouterr().out


def test_a_call_that_is_refused_is_a_line_of_what_is_missing(daemon):
    daemon.refusals = {"Show": (grpc.StatusCode.PERMISSION_DENIED, "needs a grant")}
    result = run(daemon)
    assert result.exit_code == 0
    assert "  config: needs a grant\n" in result.output
    assert "configuration" not in result.output


def test_json_is_the_messages_of_the_calls(daemon):
    printed = json.loads(run(daemon, "-o", "json").output)
    assert printed["health"] == {"status": "SERVING"}
    assert printed["placement"]["last_sweep_processes"] == 65
    assert [one["pid"] for one in printed["placements"]["placements"]] == [9, 10, 11]
