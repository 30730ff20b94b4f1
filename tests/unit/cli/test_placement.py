from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.cli.placement import explained, previewed
from holdfast.inert import inert

ADJ = pb.Change(field=pb.FIELD_OOM_SCORE_ADJ, before="0", after="-900")


def test_an_explanation_tells_facts_rules_decision_and_what_is_in_the_way():
    answer = pb.ExplainResponse(
        process=pb.Process(
            pid=9,
            ppid=1,
            comm="post\x1b[2J",
            uid=26,
            threads=2,
            cmdline=["postgres", "-D"],
            cgroups={"memory": "/a", "cpu": "/a", "": "/b"},
            pod=pb.Pod(uid="u", qos="burstable", container_id="c" * 64),
        ),
        considered=[
            pb.Considered(rule="r1", clause="match.comm", wanted="x", found="post"),
            pb.Considered(
                rule="r2",
                holds=True,
                keys=[pb.KeyStanding(key="match.user"), pb.KeyStanding(key="match.comm", claim="it chose\x1bit")],
            ),
            pb.Considered(rule="r3", holds=True),
        ],
        decision=pb.Decision(
            rule="r2",
            dry_run=True,
            changes=[ADJ],
            refusals=[pb.Refusal(reason="frozen", detail="/db is frozen")],
        ),
        notes=["a note"],
    )
    assert list(map(inert, explained(answer))) == [
        "process 9 (post\\x1b[2J), child of 1, user 26, 2 threads",
        "  command        postgres -D",
        "  program        (hidden)",
        "  cgroup         /b",
        "  cgroup         /a  (cpu, memory)",
        "  oom_score_adj  0",
        "  pod            uid u, burstable, container cccccccccccc",
        "rules, in their order",
        "  no   r1: match.comm is post, wants x",
        "  yes  r2",
        "         match.user: a fact",
        "         match.comm: a claim: it chose\\x1bit",
        "  yes  r3 (an earlier one decides)",
        "decision: rule r2, a dry run",
        "  would write    oom_score_adj 0 → -900",
        "  in the way     /db is frozen [frozen]",
        "  note           a note",
    ]


def test_an_explanation_says_what_nobody_could_foresee_and_was_met_when_it_was_tried():
    foreseen = pb.Refusal(reason="frozen", field=pb.FIELD_CGROUP, detail="/db is frozen")
    met = pb.Refusal(reason="journal", field=pb.FIELD_OOM_SCORE_ADJ, detail="journal /x: no space left on device")
    answer = pb.ExplainResponse(
        decision=pb.Decision(rule="r", changes=[ADJ], refusals=[foreseen]),
        placement=pb.PlacementInfo(rule="r", refusals=[foreseen, met]),
    )
    assert explained(answer)[-3:] == [
        "  to write       oom_score_adj 0 → -900",
        "  in the way     /db is frozen [frozen]",
        "  last time      journal /x: no space left on device [journal]",
    ]
    answer.placement.rule = "another"
    assert explained(answer)[-1] == "  in the way     /db is frozen [frozen]"


def test_a_process_under_no_rule_and_one_as_it_should_be():
    assert explained(pb.ExplainResponse())[-1] == "decision: no rule, nothing is done"
    fine = pb.ExplainResponse(decision=pb.Decision(rule="r", as_child=True))
    assert explained(fine)[-1] == "decision: rule r as a child of a match: everything is as it should be"


def test_protection_by_a_claim_is_said():
    trusted = pb.ExplainResponse(decision=pb.Decision(rule="r", by_claim=True))
    assert explained(trusted)[-1] == "decision: rule r, by claim: everything is as it should be"


def test_a_preview_ends_with_the_sum():
    answer = pb.PreviewResponse(
        looked_at=90,
        planned=[
            pb.Planned(process=pb.Process(pid=9, comm="a"), decision=pb.Decision(rule="r", changes=[ADJ])),
            pb.Planned(process=pb.Process(pid=10, comm="b"), decision=pb.Decision(rule="r")),
            pb.Planned(
                process=pb.Process(pid=11, comm="c"),
                decision=pb.Decision(rule="r", refusals=[pb.Refusal(detail="not so")]),
            ),
        ],
    )
    assert "\n".join(previewed(answer)).splitlines() == [
        "RULE    PID    NAME    CHANGE",
        "r       9      a       oom_score_adj 0 → -900",
        "r       11     c       refused: not so",
        "90 processes examined, 3 under a rule, 1 of them as they should be; 1 changes, 1 refusals. Nothing was "
        "written.",
    ]
    assert previewed(pb.PreviewResponse(looked_at=4))[0].startswith("4 processes examined, 0 under a rule")
