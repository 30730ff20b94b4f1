from __future__ import annotations

import msgspec
import pytest
from holdfast.node.model.decision import Reason
from holdfast.node.plan.plan import explain, plan
from holdfast.node.rule.annotation import BY_ANNOTATION, PAUSE, AdmissionTable, asks_of, rule_for
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import Admission, PlacementConfig, Rule
from holdfast.pods.cgroup_path import PodRef
from msgspec.structs import replace

from tests.fakes.placement import process, v2_host

D = "holdfast.dev/"
GROUP = "/kubepods/burstable/podu/c"
HOST = v2_host()


def table(*entries: dict) -> AdmissionTable:
    return AdmissionTable.of(msgspec.convert(list(entries), tuple[Admission, ...]))


DB = {
    "namespaces": ["db-*"],
    "trust_claims": True,
    "oom_score_adj": {"min": -500, "max": 900},
    "memory_oom_group": True,
    "protect": True,
}


def pod(*, namespace: str = "db-1", container: str = "pg", adj: int | None = 985, **annotations: str) -> PodRef:
    named = {D + key.replace("__", ".").replace("_", "-"): value for key, value in annotations.items()}
    return PodRef(
        "u", "burstable", "c", "/kubepods/burstable/podu", GROUP, namespace, "pg-0", container,
        annotations=named, main=(50, 500), oom_score_adj=adj,
    )  # fmt: skip


def refused(some: PodRef, entries: AdmissionTable) -> dict[str, str]:
    return {ask.key: ask.refused for ask in asks_of(some.namespace, some.annotations, entries) if ask.refused}


def test_without_an_entry_nothing_is_allowed():
    some = pod(oom_score_adj="5", memory_oom_group="0")
    why = 'no entry of annotations: allows anything in namespace "db-1"'
    assert refused(some, AdmissionTable()) == {"oom-score-adj": why, "memory-oom-group": why}
    assert refused(some, table({**DB, "namespaces": "web"})) == {"oom-score-adj": why, "memory-oom-group": why}
    assert rule_for(some, table({**DB, "namespaces": "web"})) is None


@pytest.mark.parametrize(
    ("asked", "key", "expected"),
    [
        ({"oom_score_adj": "-501"}, "oom-score-adj", "-501 is not within -500 and 900, which its namespace is allowed"),
        ({"oom_score_adj__pg": "901"}, "oom-score-adj.pg", "901 is not within -500 and 900"),
        ({"oom_score_adj": "low"}, "oom-score-adj", '"low" is not a whole number'),
        ({"oom_score_adj": "٥٠٠"}, "oom-score-adj", '"٥٠٠" is not a whole number'),
        ({"oom_score_adj": "1_00"}, "oom-score-adj", '"1_00" is not a whole number'),
        ({"oom_score_adj": " 100"}, "oom-score-adj", '" 100" is not a whole number'),
        ({"oom_score_adj": "9" * 5000}, "oom-score-adj", f'"{"9" * 40}…" is not a whole number'),
        ({"memory_oom_group": "yes"}, "memory-oom-group", '"yes" is not 0 or 1'),
        ({"oom_score_adj": "1", "protect": "all"}, "protect", '"all" is not leader'),
        ({"protect": "leader"}, "protect", "it needs holdfast.dev/oom-score-adj beside it"),
        ({"cgroup": "/x"}, "cgroup", "there is no such annotation; there are oom-score-adj"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_reason(asked, key, expected):
    assert refused(pod(**asked), table(DB))[key].startswith(expected)


def test_each_key_is_allowed_by_its_own_word():
    nothing = table({"namespaces": "*"})
    assert set(refused(pod(oom_score_adj="1", memory_oom_group="0", protect="leader"), nothing)) == {
        "oom-score-adj", "memory-oom-group", "protect",
    }  # fmt: skip


def test_the_first_entry_that_fits_decides():
    entries = table({"namespaces": "db-1"}, DB)
    assert "oom-score-adj" in refused(pod(oom_score_adj="1"), entries)
    assert refused(pod(namespace="db-2", oom_score_adj="1"), entries) == {}


def test_annotations_of_others_are_nobodys_business():
    some = replace(pod(), annotations={"holdfast.device/x": "1", "oom-score-adj": "5"})
    assert asks_of("db-1", some.annotations, table(DB)) == ()


def test_a_containers_own_number_outranks_the_pods():
    some = pod(oom_score_adj="100", oom_score_adj__pg="200")
    assert rule_for(some, table(DB)).oom_score_adj.value == 200
    assert rule_for(replace(some, container="side"), table(DB)).oom_score_adj.value == 100


def test_one_refused_annotation_leaves_the_others():
    rule = rule_for(pod(oom_score_adj="-999", memory_oom_group="0"), table(DB))
    assert (rule.oom_score_adj, rule.in_place) == (None, {"memory.oom.group": 0})


@pytest.mark.parametrize("container", ["", PAUSE])
def test_the_pause_and_a_container_nobody_told_of_yet_are_left_alone(container):
    assert rule_for(pod(container=container, oom_score_adj="1"), table(DB)) is None


def test_a_leader_waits_until_it_is_known_what_the_others_keep():
    assert rule_for(pod(adj=None, oom_score_adj="-400", protect="leader"), table(DB)) is None
    asked = replace(pod(adj=-400, oom_score_adj="-400", protect="leader"), oom_score_adj_asked=985)
    assert rule_for(asked, table(DB)).oom_score_adj.children == 985


def book(*rules: dict, entries=(DB,)):
    named = [{"name": f"r{at}", "trust_claims": True, **rule} for at, rule in enumerate(rules, 1)]
    own = msgspec.convert(named, tuple[Rule, ...])
    return compile_rules(own, annotations=msgspec.convert(list(entries), tuple[Admission, ...]))


def in_pod(pid: int = 60, comm: str = "pg", **given):
    return process(pid, comm, **{"cgroups": {"": GROUP}, "pod": pod(oom_score_adj="-400"), **given})


def written(some, rules) -> tuple[str | None, list[int | str]]:
    decision = plan(some, rules, HOST)
    return decision.rule, [change.after for change in decision.changes]


def test_an_admitted_pod_gets_what_it_asks_for():
    assert written(in_pod(), book()) == (BY_ANNOTATION, [-400])


def test_the_operators_rule_decides_before_the_annotation_unless_it_yields():
    mine = {"match": {"comm": "pg"}, "oom_score_adj": 7}
    assert written(in_pod(), book(mine)) == ("r1", [7])
    assert written(in_pod(), book({**mine, "yields_to_annotations": True})) == (BY_ANNOTATION, [-400])
    plain = in_pod(pod=pod())
    assert written(plain, book({**mine, "yields_to_annotations": True})) == ("r1", [7])


def test_what_a_rule_says_of_children_decides_too():
    leader = {"match": {"comm": "boss"}, "oom_score_adj": {"value": -9, "children": 5}}
    boss = process(50, "boss", cgroups={"": GROUP})
    assert written(in_pod(ancestors=(boss,), oom_score_adj=0), book(leader)) == ("r1", [5])


def test_a_dry_run_is_one_for_annotations_too():
    rules = compile_rules((), dry_run=True, annotations=msgspec.convert([DB], tuple[Admission, ...]))
    assert plan(in_pod(), rules, HOST).dry_run


LEAD = pod(oom_score_adj="-400", protect="leader")
AT_CREATION = replace(LEAD, oom_score_adj=-400, oom_score_adj_asked=985)  # given by NRI, and so to an exec, too
SHIM = process(9, "containerd-shim", exe="/bin/shim")
MAIN = process(50, "manager", exe="/manager", cgroups={"": GROUP}, pod=LEAD, oom_score_adj=-400, ancestors=(SHIM,))
MASTER = process(60, "postgres", exe="/postgres", ppid=50, cgroups={"": GROUP}, pod=LEAD, oom_score_adj=-400)


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (replace(MAIN, oom_score_adj=985), -400),
        (replace(MASTER, oom_score_adj=985, ancestors=(MAIN, SHIM)), -400),
        (replace(MASTER, pid=61, ancestors=(replace(MASTER, ancestors=()), MAIN)), 985),  # a worker
        (replace(MASTER, pid=62, comm="sh", exe="/sh", ancestors=(MASTER, MAIN)), 985),  # what a worker runs
        (replace(MAIN, pid=63, pod=AT_CREATION, ancestors=(SHIM,)), 985),  # kubectl exec
    ],
    ids=["first", "the program it starts", "worker", "shell", "exec"],
)
def test_only_the_leader_is_protected_and_the_others_keep_the_kubelets_value(some, expected):
    assert written(some, book()) == (BY_ANNOTATION, [expected])


def test_without_a_known_first_process_it_is_the_one_whose_parent_is_outside():
    some = replace(LEAD, main=None)
    assert written(replace(MAIN, pod=some, oom_score_adj=985), book()) == (BY_ANNOTATION, [-400])
    inside = replace(MAIN, pod=some)
    worker = replace(inside, pid=51, start_ticks=9, ancestors=(inside, SHIM))
    assert written(worker, book()) == (BY_ANNOTATION, [985])


def test_explain_says_what_the_kubelet_gave_what_is_allowed_and_what_is_refused():
    some = in_pod(pod=pod(oom_score_adj="-400", memory_oom_group="7"), oom_score_adj=985)
    explained = explain(some, book({"match": {"comm": "x"}, "oom_score_adj": 1}), v2_host(memory_pages=16 << 20))
    assert [(one.rule, one.holds) for one in explained.considered] == [("r1", False), (BY_ANNOTATION, True)]
    notes = "\n".join(explained.notes)
    assert "the kubelet gave it 985 = 1000 - 1000 x memory request / 64.00 GiB of the node" in notes
    assert "its pod asks for holdfast.dev/oom-score-adj: -400, which is allowed" in notes
    assert 'its pod asks for holdfast.dev/memory-oom-group: 7, which is refused: "7" is not 0 or 1' in notes


def test_explain_says_who_decides_instead():
    explained = explain(in_pod(), book({"match": {"comm": "pg"}, "oom_score_adj": 7}), HOST)
    assert "its pod asks for holdfast.dev/oom-score-adj: -400; rule r1 decides instead" in explained.notes


def test_memory_oom_group_is_written_to_the_containers_group_and_refused_on_v1():
    some = in_pod(pod=pod(memory_oom_group="0"))
    (change,) = plan(some, book(), HOST).changes
    assert (change.group, change.file, change.after) == (GROUP, "memory.oom.group", "0")
    from tests.fakes.placement import v1_host, v1_process

    old = v1_process(60, "pg", GROUP, pod=pod(memory_oom_group="0"))
    assert plan(old, book(), v1_host()).refusals[0].reason is Reason.NO_EQUIVALENT


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"namespaces": "x", "oom_score_adj": {"min": 5, "max": 4}}, "min 5 is above max 4"),
        ({"namespaces": "x", "oom_score_adj": {"min": -1000}}, "no pod is given that, use -999"),
        ({"oom_score_adj": {"min": 1}}, "namespaces"),
    ],
)
def test_a_table_that_can_mean_nothing_is_refused(entry, expected):
    with pytest.raises(msgspec.ValidationError, match=expected):
        msgspec.convert({"annotations": [entry]}, PlacementConfig)
