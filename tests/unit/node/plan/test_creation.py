import msgspec
import pytest
from holdfast.node.model.process import HostFacts
from holdfast.node.plan.creation import ContainerAdjustment, ContainerRequest, at_creation
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import Admission, Rule
from holdfast.pods.cgroup_path import PodRef
from msgspec.structs import replace

V2 = HostFacts("boot", own_pid=999, memory_pages=1 << 20, controllers=frozenset({"memory", "cpu"}))
V1 = HostFacts("boot", own_pid=999, memory_pages=1 << 20, hierarchies=("memory", "cpu,cpuacct", ""))
POD = PodRef(
    uid="0e2b3c4d-0000-1111-2222-333344445555",
    qos="burstable",
    container_id="c" * 64,
    namespace="db",
    name="pg-0",
    container="postgres",
    labels={"app": "postgres"},
    annotations={"team": "a"},
)
GROUP = f"/kubepods/burstable/pod{POD.uid}/{POD.container_id}"
DB = ContainerRequest(POD, 985, GROUP)


def rules(*written, dry_run=False, admitted=()):
    admissions = msgspec.convert(list(admitted), list[Admission])
    trusting = [{"trust_claims": True, **one} for one in written]
    return compile_rules(msgspec.convert(trusting, list[Rule]), dry_run=dry_run, annotations=admissions)


def given(*written, container_request=DB, host=V2):
    return at_creation(container_request, rules(*written), host)


def rule(match, name="r", **more):
    return {"name": name, "match": match, **(more or {"oom_score_adj": -500})}


@pytest.mark.parametrize(
    "match",
    [
        {"pod": {"namespace": "db"}},
        {"pod": {"labels": "app=postgres", "container": "post*", "qos": "burstable"}},
        {"pod": {"annotations": "team in (a,b)"}},
        {"pod": True},
        {"pod": {"namespace": "db"}, "cgroup": "/kubepods/**"},
        {"pod": {"namespace": "db"}, "descendants": True},
    ],
)
def test_a_rule_about_pods_alone_gives_its_value(match):
    assert given(rule(match)) == ContainerAdjustment("r", -500)


@pytest.mark.parametrize(
    "match",
    [
        {"pod": {"namespace": "web"}},
        {"pod": {"labels": "app!=postgres"}},
        {"pod": False},
        {"cgroup": "/batch.slice/**"},
        {"comm": "postgres", "pod": {"namespace": "web"}},
        {"comm": "postgres", "pod": {"namespace": "web"}, "descendants": True},
    ],
)
def test_a_rule_that_cannot_hold_lets_the_next_one_decide(match):
    assert given(rule(match, "first", oom_score_adj=7), rule({"pod": True}, "second")) == ContainerAdjustment(
        "second", -500
    )


@pytest.mark.parametrize(
    "match",
    [
        {"comm": "postgres"},
        {"exe": "/usr/**"},
        {"cmdline": "*main*"},
        {"user": 0},
        {"leader": True},
        {"comm": "sshd", "descendants": True},
        {"pod": {"namespace": "db"}, "comm": "postgres"},
        {"pod": {"namespace": "db"}, "comm": "postgres", "descendants": True},
        {"pod": False, "descendants": True},
    ],
)
def test_a_rule_that_might_hold_leaves_all_to_the_engine(match):
    assert given(rule(match, "first"), rule({"pod": True}, "second")) is None


def test_a_cgroup_is_no_answer_where_it_is_not_known():
    assert given(rule({"cgroup": "/kubepods/**"}), container_request=replace(DB, group="")) is None


def test_a_qos_is_no_answer_where_it_is_not_known():
    assert given(rule({"pod": {"qos": "guaranteed"}}), container_request=replace(DB, pod=replace(POD, qos=""))) is None


@pytest.mark.parametrize(
    ("adjustment", "expected"),
    [
        (0, 0),
        (1000, 1000),
        ({"at_most": 100}, 100),
        ({"at_least": 990}, 990),
        ({"at_least": 100}, None),
        (985, None),
        ({"children": 5}, None),
    ],
)
def test_bounds_are_bounds_of_the_value_that_was_asked_for(adjustment, expected):
    created = given(rule({"pod": True}, oom_score_adj=adjustment))
    assert (created.oom_score_adj if created else None) == expected


def test_the_daemons_own_lack_of_a_capability_does_not_matter_the_runtime_writes():
    assert given(rule({"pod": True}, oom_score_adj=-999)) == ContainerAdjustment("r", -999)
    assert "CAP_SYS_RESOURCE" not in V2.capabilities


def test_unkillable_needs_its_word():
    assert given(rule({"pod": True}, oom_score_adj=-1000, unkillable=True)) == ContainerAdjustment("r", -1000)


def test_whether_a_process_chose_its_value_is_seen_when_it_is_there():
    assert given(rule({"pod": True}, oom_score_adj=-5, only_if_inherited=True)) is None


def test_settings_in_place_are_files_of_the_containers_own_group():
    created = given(rule({"pod": True}, in_place={"memory.oom.group": 0, "memory.high": "1Gi"}))
    assert dict(created.settings) == {"memory.oom.group": "0", "memory.high": "1073741824"}


def test_settings_are_left_to_the_engine_on_v1_and_where_the_group_is_not_known():
    written = rule({"pod": True}, in_place={"memory.limit_in_bytes": "1Gi"})
    assert given(written, container_request=replace(DB, group="/kubepods/x"), host=V1) is None
    assert given(written, container_request=replace(DB, group="")) is None


def test_a_move_out_of_the_pod_needs_its_word():
    target = {"path": "/holdfast/db"}
    assert given(rule({"pod": True}, cgroup=target)) is None
    assert given(rule({"pod": True}, cgroup=target, leave_kubepods=True)).group == "/holdfast/db"


def test_a_dry_run_says_so():
    assert at_creation(DB, rules(rule({"pod": True}), dry_run=True), V2) == ContainerAdjustment("r", -500, dry_run=True)


def test_no_rules_give_nothing():
    assert given() is None


ASKS = replace(DB, pod=replace(POD, annotations={"holdfast.dev/oom-score-adj": "-300"}, oom_score_adj_asked=985))
ADMITTED = {"namespaces": "db", "oom_score_adj": {"min": -500}, "protect": True}


def asked(*written, container_request=ASKS, admitted=ADMITTED, **options):
    return at_creation(container_request, rules(*written, admitted=[admitted], **options), V2)


def test_what_a_pod_is_admitted_to_by_annotation_is_there_at_creation():
    assert asked() == ContainerAdjustment("annotation", -300)
    assert asked(dry_run=True) == ContainerAdjustment("annotation", -300, dry_run=True)
    assert asked(admitted={**ADMITTED, "oom_score_adj": {"min": 0}}) is None


def test_an_operators_rule_decides_before_an_annotation_and_one_that_yields_after_it():
    assert asked(rule({"pod": True})) == ContainerAdjustment("r", -500)
    assert asked({**rule({"pod": True}), "yields_to_annotations": True}) == ContainerAdjustment("annotation", -300)
    assert asked({**rule({"comm": "x"}), "yields_to_annotations": True}) == ContainerAdjustment("annotation", -300)
    assert asked(rule({"comm": "x"})) is None


def test_a_protected_leader_is_the_first_process_so_the_value_is_for_it():
    pod = replace(ASKS.pod, annotations={**ASKS.pod.annotations, "holdfast.dev/protect": "leader"})
    assert asked(container_request=replace(ASKS, pod=pod)) == ContainerAdjustment("annotation", -300)
