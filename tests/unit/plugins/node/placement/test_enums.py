"""The enums of the placement API beside the words that older clients read."""

import pytest
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.node.model.decision import Field, Reason, Refusal
from holdfast.node.model.placement import Cause, Happening, Placement, Report, State
from holdfast.plugins.node.placement import message
from holdfast.plugins.node.placement.report_log import ReportLog
from holdfast.plugins.node.placement.service import PlacementService
from holdfast.pods.cgroup_path import PodRef

from tests.fakes.engine import RULES, InForce, StandIn

MARKS = {"HAPPENING_PRESENT", "HAPPENING_SYNCED", "HAPPENING_BOOKMARK"}  # of a Watch, not of the engine


@pytest.mark.parametrize(
    ("words", "enum", "prefix", "more"),
    [
        (State, pb.State, "STATE_", set()),
        (Happening, pb.Happening, "HAPPENING_", MARKS),
        (Reason, pb.RefusalReason, "REFUSAL_REASON_", set()),
        (Cause, pb.Cause, "CAUSE_", set()),
    ],
)
def test_every_word_of_the_engine_has_its_value(words, enum, prefix, more):
    assert {f"{prefix}{word.upper()}" for word in words} | more | {f"{prefix}UNSPECIFIED"} == set(enum.keys())


def test_a_field_with_words_and_its_enum_say_the_same():
    refusal = Refusal(Reason.NO_EQUIVALENT, Field.SETTING, "x")
    placed = message.placement(
        Placement(1, 1, "x", "r", state=State.PARTLY, refusals=(refusal,), pod=PodRef("u", "burstable", "c"))
    )
    assert (placed.state, placed.state_enum) == ("partly", pb.STATE_PARTLY)
    assert (placed.refusals[0].reason, placed.refusals[0].reason_enum) == (
        "no_equivalent",
        pb.REFUSAL_REASON_NO_EQUIVALENT,
    )
    assert (placed.pod.qos, placed.pod.qos_enum) == ("burstable", pb.QOS_CLASS_BURSTABLE)
    drifted = message.report(Report(Happening.DRIFTED, 1, 1, "x", "r"))
    assert (drifted.happening, drifted.happening_enum) == ("drifted", pb.HAPPENING_DRIFTED)
    assert message.present(Placement(1, 1, "x", "r")).happening_enum == pb.HAPPENING_PRESENT
    assert message.synced("t").happening_enum == pb.HAPPENING_SYNCED
    assert message.bookmark("t").happening_enum == pb.HAPPENING_BOOKMARK


def test_a_class_of_pods_that_is_not_known_is_unspecified():
    assert message.pod(PodRef("u", "", "c")).qos_enum == pb.QOS_CLASS_UNSPECIFIED


async def test_rules_and_the_status_have_them_too():
    placed = tuple(
        Placement(pid, 1, "x", "r1", state=state)
        for pid, state in enumerate([State.REFUSED, State.HELD, State.REFUSED])
    )
    service = PlacementService(StandIn(placed=placed), InForce(*RULES), ReportLog())
    rule, other = (await service.ListRules(pb.ListRulesRequest(), None)).rules
    assert dict(rule.processes) == {"held": 1, "refused": 2}
    assert [(one.state, one.processes) for one in rule.counts] == [(pb.STATE_HELD, 1), (pb.STATE_REFUSED, 2)]
    assert not other.counts
    status = await service.Status(pb.StatusRequest(), None)
    assert (status.last_sweep_cause, status.last_sweep_cause_enum) == ("reload", pb.CAUSE_RELOAD)


async def test_a_filter_names_an_enum_by_its_value():
    service = PlacementService(StandIn(), InForce(*RULES), ReportLog())
    request = pb.ListPlacementsRequest(filters=["state_enum==STATE_PARTLY"])
    assert [one.pid for one in (await service.ListPlacements(request, None)).placements] == [50]
