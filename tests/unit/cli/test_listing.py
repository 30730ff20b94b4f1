"""Lists: their forms, their order, and what --watch prints."""

import json
import os
import sys

import pytest
import yaml
from click.testing import CliRunner
from google.protobuf.timestamp_pb2 import Timestamp
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.cli.group import cli
from holdfast.cli.table import Column, Table
from holdfast.plugins.node.placement.selection import selection_of

from tests.fakes.answering import answering
from tests.running import Running

SINCE = Timestamp(seconds=1_700_000_000)
POD = pb.Pod(uid="u", namespace="db", name="pg-0", container="postgres")


def process(pid, rule="r", adj=5, **given):
    return pb.PlacementInfo(
        pid=pid, comm=f"p{pid}", rule=rule, state=given.pop("state", "held"), oom_score_adj=adj, **given
    )


PROCESSES = (
    process(9, adj=100, adj_before=3, since=SINCE, group="/g"),
    process(10, "db", -900, pod=POD, state="refused", refusals=[pb.Refusal(reason="x", detail="why not")]),
)


def listed(request):
    """The daemon's answer, with its own filters and mask."""
    selection = selection_of(pb.ListPlacementsRequest.FromString(request), pb.PlacementInfo)
    return pb.ListPlacementsResponse(placements=map(selection.masked, filter(selection.matches, PROCESSES)))


@pytest.fixture
def daemon(tmp_path):
    with answering(f"unix:{tmp_path}/s") as answers:
        answers.address = f"{tmp_path}/s"
        answers.by_method["ListPlacements"] = listed
        yield answers


def run(daemon, *words):
    result = CliRunner().invoke(cli, [*words, "-a", daemon.address], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_ps_is_a_table_that_fits_into_80_columns_and_wide_has_all(daemon):
    assert run(daemon, "ps") == (
        "PID    NAME    RULE    STATE      ADJ     BEFORE    POD\n"
        "9      p9      r       held       100     3         -\n"
        "10     p10     db      refused    -900    -         db/pg-0/postgres\n"
    )
    assert run(daemon, "ps", "-o", "wide", "--no-headers", "--state", "held") == (
        "9    p9    r    held    100    3    /g    2023-11-14 22:13:20\n"
    )


def test_ps_prints_pids_and_the_apis_message_in_json_and_yaml(daemon):
    assert run(daemon, "ps", "-o", "name") == "9\n10\n"
    printed = json.loads(run(daemon, "ps", "-o", "json"))
    assert [one["pid"] for one in printed["placements"]] == [9, 10]
    assert yaml.safe_load(run(daemon, "ps", "-o", "yaml")) == printed


@pytest.mark.parametrize(
    ("words", "pids"),
    [
        (["--sort", "adj"], [10, 9]),
        (["--sort", "-pid"], [10, 9]),
        (["--sort", "rule"], [10, 9]),
        (["--state", "held"], [9]),
        (["--state", "held", "--state", "refused"], [9, 10]),
        (["-n", "db"], [10]),
        (["-n", "other"], []),
        (["--pod", "pg-0"], [10]),
        (["--pod", "pg-*"], [10]),
        (["--pod", "pg"], []),
        (["--pod", "*g-*"], [10]),
        (["--pod", "g-*"], []),
        (["--pod", "p.*"], []),
        (["--pod", 'x",pid=="10'], []),
        (["-n", 'x",pid=="10'], []),
        (["--state", "refused", "--state", "held", "-n", "db", "--pod", "pg*"], [10]),
    ],
)
def test_ps_sorts_and_selects_in_every_form(daemon, words, pids):
    assert list(map(int, run(daemon, "ps", "-o", "name", *words).split())) == pids
    assert [one["pid"] for one in json.loads(run(daemon, "ps", "-o", "json", *words))["placements"]] == pids


def test_ps_prints_pids_from_an_answer_with_nothing_else(daemon):
    run(daemon, "ps", "-o", "name", "--state", "held")
    request = pb.ListPlacementsRequest.FromString(daemon.requests[-1])
    assert (list(request.filters), list(request.read_mask.paths)) == (["state==held"], ["pid"])
    run(daemon, "ps")
    assert pb.ListPlacementsRequest.FromString(daemon.requests[-1]) == pb.ListPlacementsRequest()


def test_the_namespace_of_the_environment_selects_no_pods(daemon, monkeypatch):
    monkeypatch.setenv("CONTAINERD_NAMESPACE", "k8s.io")
    assert run(daemon, "ps", "-o", "name") == "9\n10\n"


def watching(daemon, *words):
    command = [sys.executable, "-m", "holdfast", *words, "-w", "--every", "0.2", "-a", daemon.address]
    return Running(command, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})


def test_watch_prints_what_is_new_changed_or_gone_in_the_same_columns(daemon):
    with watching(daemon, "ps") as ps:
        ps.line(r"^10 ")
        daemon.by_method["ListPlacements"] = pb.ListPlacementsResponse(
            placements=[process(9, adj=100, adj_before=3, since=SINCE, group="/g"), process(100_000, "a-longer-rule")]
        )
        assert ps.line(r"^100000 ").split() == ["100000", "p100000", "a-longer-rule", "held", "5", "-", "-"]
        assert ps.line(r"gone").split() == ["10", "p10", "db", "gone", "-900", "-", "db/pg-0/postgres"]
        assert [line.split()[0] for line in ps.out] == ["PID", "9", "10", "100000", "10"]


def test_watch_in_json_is_one_message_a_line(daemon):
    with watching(daemon, "ps", "-o", "json") as ps:
        ps.line('"pid": 10,')
        assert [json.loads(line)["pid"] for line in ps.out] == [9, 10]


def test_watch_ends_with_3_when_the_daemon_does(tmp_path):
    with answering(f"unix:{tmp_path}/s") as answers:
        answers.address = f"{tmp_path}/s"
        answers.by_method["ListRules"] = pb.ListRulesResponse(rules=[pb.RuleInfo(name="one")])
        rules = watching(answers, "rules")
        rules.line("one")
    with rules:
        assert rules.end() == 3


def test_rules_and_kills_have_the_same_forms(daemon):
    daemon.by_method["ListRules"] = pb.ListRulesResponse(
        rules=[
            pb.RuleInfo(name="b", reason="why", processes={"held": 2}),
            pb.RuleInfo(name="a", dry_run=True, builtin=True),
        ]
    )
    daemon.by_method["Kills"] = pb.KillsResponse(
        kills=[pb.Kill(pid=7, comm="p", at=SINCE, rss_pages=256, domain="/", group="/g")], page_bytes=4096
    )
    assert run(daemon, "rules", "--sort", "rule", "-o", "name") == "a\nb\n"
    assert run(daemon, "rules", "-o", "wide").splitlines()[1].split() == [
        "b",
        "on",
        "yours",
        "2",
        "0",
        "0",
        "0",
        "0",
        "why",
    ]
    assert "why" not in run(daemon, "rules")
    assert run(daemon, "kills", "--no-headers") == "2023-11-14 22:13:20    7    p    1.0 MiB    0    the node    -\n"
    printed = json.loads(run(daemon, "kills", "-o", "json"))
    assert (printed["page_bytes"], printed["kills"][0]["pid"]) == (4096, 7)
    assert json.loads(run(daemon, "kills", "7", "-o", "json")) == printed


def test_a_path_is_cut_from_the_left_but_not_in_the_wide_table():
    columns = [Column("PATH", str, most=6)]
    assert Table(columns, wide=False, headers=False, first=[]).lines(["/a/b/cd", "/short"]) == ["…/b/cd", "/short"]
    assert Table(columns, wide=True, headers=False, first=[]).lines(["/a/b/cd"]) == ["/a/b/cd"]
