"""No name that the kernel lets through takes an answer of the API away."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from google.protobuf.json_format import MessageToJson
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.inert import valid
from holdfast.node.model.decision import AdjChange, Decision, Field, MoveChange, Reason, Refusal, SettingChange
from holdfast.node.model.memory_domain import Kill, MemoryDomain, RankedProcess
from holdfast.node.model.placement import Happening, Placement, Report, Restored
from holdfast.node.model.process import Process
from holdfast.node.oom.victim import Candidate, Ranking
from holdfast.node.plan.plan import Explanation
from holdfast.node.rule.ruleset import RuleTrace
from holdfast.plugins.node.placement import message
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.one_of(st.binary(max_size=12).map(lambda raw: raw.decode(errors="surrogateescape")), st.text(max_size=12))


@st.composite
def everything(draw):
    """A message of each kind, whatever text stands where text can."""
    name = lambda: draw(NAMES)  # noqa: E731
    pod = SimpleNamespace(uid=name(), qos=name(), container_id=name(), namespace=name(), name=name(), container=name())
    process = Process(7, 1, 1, name(), exe=name(), cmdline=(name(), name()), cgroups={name(): name()}, pod=pod)
    changes = (
        AdjChange(-7, 7),
        MoveChange(name(), name(), name(), lost=name()),
        SettingChange(name(), name(), name(), name(), name()),
    )
    refusals = (Refusal(Reason.KERNEL, Field.CGROUP, name()),)
    decision = Decision(7, 1, name(), changes, refusals)
    placement = Placement(7, 1, name(), name(), group=name(), changes=changes, refusals=refusals, pod=pod)
    ranking = Ranking(MemoryDomain(name(), 1), (Candidate(process, 0, 1, name()),), None, 0, group=name())
    explained = Explanation(process, decision, (RuleTrace(name(), False, name(), name(), name()),), (name(),))
    kill = Kill(
        1, 7, name(), 0, name(), name(), 1, 0, name(), name(), name(),
        (RankedProcess(7, name(), 1, 0),), 1, None, name(), name(), name(),
    )  # fmt: skip
    return (
        message.explanation(explained, placement),
        message.report(Report(Happening.HELD, 7, 1, name(), name(), changes, name(), 1, pod)),
        message.kill(kill),
        message.restored(Restored(failed=(name(),))),
        message.ranking(ranking, ranking, {7: name()}, 10),
    )


@pytest.mark.parametrize(
    ("change", "made"),
    [
        (AdjChange(-5, 900), {"field": pb.FIELD_OOM_SCORE_ADJ, "before": "-5", "after": "900"}),
        (
            MoveChange("/a", "/b", "memory", create=True, lost="pids.max 1 of /a"),
            {
                "field": pb.FIELD_CGROUP, "before": "/a", "after": "/b", "group": "/b", "hierarchy": "memory",
                "create": True, "lost": "pids.max 1 of /a",
            },
        ),
        (
            SettingChange(None, "max", "/b", "pids.max", "pids"),
            {"field": pb.FIELD_SETTING, "after": "max", "group": "/b", "file": "pids.max", "hierarchy": "pids"},
        ),
    ],
)  # fmt: skip
def test_a_change_is_text_in_its_message(change, made):
    assert message.change(change) == pb.Change(**made)


@given(everything())
def test_any_name_has_a_message_that_can_be_sent_and_printed(messages):
    for some in messages:
        assert type(some).FromString(some.SerializeToString()) == some
        MessageToJson(some)


@given(NAMES, NAMES)
def test_text_that_is_utf8_is_sent_as_it_is_and_the_same_bytes_always_the_same_way(name, other):
    sent = message.process(Process(7, 1, 1, name)).comm
    assert sent == valid(name) == valid(sent)
    if name.isascii():
        assert sent == name


def test_a_byte_that_is_no_utf8_is_a_backslash_an_x_and_two_digits():
    assert message.process(Process(7, 1, 1, "a\udcffb")).comm == r"a\xffb"
