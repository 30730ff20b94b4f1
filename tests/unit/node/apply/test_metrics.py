"""Metrics of pods are counted, and their lines are bounded."""

from types import SimpleNamespace

import pytest
from holdfast.node.apply.metrics import MAX_DOMAINS, MAX_POD_LINES, OTHERS, PlacementMetrics
from holdfast.node.model.decision import Field, Reason, Refusal
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.placement import Placement, State


def pod(name="", namespace="", container=""):
    return SimpleNamespace(name=name, namespace=namespace, container=container)


def placements(number):
    return [Placement(n, 1, "x", "r", pod=pod(f"p{n:04}", "ns", "c")) for n in range(number)]


def lines(family):
    return dict(family.values())


def test_processes_of_a_container_are_counted_by_rule_and_state():
    metrics = PlacementMetrics()
    held, planned = placements(1)[0], Placement(7, 1, "x", "r", state=State.PLANNED, pod=placements(1)[0].pod)
    nobody, unnamed = Placement(8, 1, "x", "r"), Placement(9, 1, "x", "r", pod=pod())
    metrics.placements = lambda: [held, held, planned, nobody, unnamed]
    assert lines(metrics.pod_processes) == {
        ("ns", "p0000", "c", "r", "held"): 2,
        ("ns", "p0000", "c", "r", "planned"): 1,
    }


def test_more_containers_than_are_shown_are_one_line_a_rule():
    metrics = PlacementMetrics()
    metrics.placements = lambda: placements(MAX_POD_LINES + 5)
    shown = lines(metrics.pod_processes)
    assert len(shown) == MAX_POD_LINES + 1
    assert shown[OTHERS, "", "", "r", "held"] == 5


def test_kills_are_counted_by_group_and_pod_and_beyond_many_as_others():
    metrics = PlacementMetrics()
    for number in range(MAX_DOMAINS + 3):
        metrics.kill(Kill(0, 1, "x", 0, f"/g{number}", "/g", 1, 0, pod_namespace="ns", pod_name="p", container="c"))
    shown = lines(metrics.kills)
    assert len(shown) == MAX_DOMAINS + 1
    assert (shown["/g0", "ns", "p", "c"], shown[OTHERS, "", "", ""]) == (1, 3)


def test_processes_that_are_refused_something_are_counted_by_rule_and_reason_for_as_long_as_they_are():
    metrics = PlacementMetrics()
    twice = tuple(Refusal(Reason.CAPABILITY, field, "x") for field in (Field.OOM_SCORE_ADJ, Field.CGROUP))
    other = Refusal(Reason.KERNEL, Field.CGROUP, "x")
    metrics.placements = lambda: [
        Placement(1, 1, "x", "r", refusals=twice),
        Placement(2, 1, "x", "r", refusals=(*twice, other)),
        Placement(3, 1, "x", "r"),
    ]
    assert lines(metrics.refused) == {("r", "capability"): 2, ("r", "kernel"): 1}
    metrics.placements = tuple
    assert lines(metrics.refused) == {}


@pytest.mark.parametrize(
    ("words", "protected"),
    [
        ({"oom_score_adj": -500, "adj_before": 0}, True),
        ({"oom_score_adj": -999}, True),  # as systemd had set it already
        ({"oom_score_adj": 2, "adj_before": 985}, True),
        ({"oom_score_adj": 500, "adj_before": 0}, False),
        ({"oom_score_adj": -500, "adj_before": 0, "state": State.PLANNED}, False),
        ({"oom_score_adj": -500, "state": State.REFUSED}, False),
        ({"oom_score_adj": -997, "adjusts": False}, False),  # the kubelet's; the rule has a cgroup alone
    ],
)
def test_a_process_is_protected_when_its_rule_lowers_its_value_or_keeps_it_below_0(words, protected):
    assert Placement(1, 1, "x", "r", **{"adjusts": True, **words}).protected is protected


def test_kills_of_protected_processes_are_counted_by_rule():
    metrics = PlacementMetrics()
    metrics.kill(Kill(0, 1, "x", 0, "/g", "/g", 1, -500, rule="r", protected=True))
    metrics.kill(Kill(0, 2, "x", 0, "/g", "/g", 1, 0, rule="s"))
    assert lines(metrics.protected_kills) == {("r",): 1}
