from __future__ import annotations

import pytest
from holdfast.errors import ConfigError
from holdfast.node.model.decision import Field, Reason
from holdfast.node.model.evidence import Evidence
from holdfast.node.model.process import GroupFacts, Held
from holdfast.node.plan.plan import explain, plan
from holdfast.node.plan.setting import widens
from holdfast.node.rule.protection import names_a_unit
from holdfast.pods.cgroup_path import PodRef
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.fakes.placement import PROVEN, process, rules, v1_host, v2_host

HOST = v2_host()
LOWERS = {"oom_score_adj": -500}
UNIT = "/system.slice/pg.service"
NS = {"pod": {"namespace": "db"}}
CLAIMED = Evidence("/x is writable by uid 1001", "/x.slice is writable by uid 1001", "no runtime has named it")


def load(match, **more):
    return rules({"name": "x", "match": match, "trust_claims": False, **(more or LOWERS)})


@pytest.mark.parametrize(
    "match",
    [
        {"exe": "/usr/bin/pg", "user": 26},
        {"exe": "/usr/bin/pg", "cgroup": UNIT, "comm": "pg", "leader": True},
        {"cgroup": ["/system.slice/pg@*.service", "/pg.slice/**"], "user": "0-5"},
        {"pod": {"namespace": ["db", "db2"], "labels": "a=b"}},
        {"exe": "/usr/bin/pg", "user": 26, "descendants": True},
        {"exe": "/opt/pg/*/bin/*", "user": 26},
        {"cgroup": "/user.slice/user-1001.slice/**", "exe": "/usr/bin/pg"},
    ],
)
def test_facts_that_name_program_user_or_place_may_protect(match):
    assert load(match).rules[0].grounds


@pytest.mark.parametrize(
    ("match", "add"),
    [
        ({"comm": "pg"}, "add match.exe and match.user"),
        ({"cmdline": "pg *"}, "add match.exe and match.user"),
        ({"exe": "/usr/bin/pg"}, "add match.user, or match.cgroup of its unit"),
        ({"user": 26}, "add match.exe, or match.cgroup of its unit"),
        ({"cgroup": UNIT}, "add match.exe or match.user"),
        ({"cgroup": "/", "user": 0}, "name a unit in match.cgroup (/system.slice/NAME.service)"),
        ({"cgroup": "/*.slice/*.service", "user": 0}, "name a unit in match.cgroup"),
        ({"cgroup": ["/system.slice/**", UNIT], "user": 0}, "name a unit in match.cgroup"),
        ({"cgroup": f"not:{UNIT}", "user": 0}, "name a unit in match.cgroup"),
        ({"cgroup": "/system.slic*/**", "user": 0}, "name a unit in match.cgroup"),
        ({"cgroup": "/kubepods.slice/kubepods-burstable.slice/**", "user": 0}, "name a unit in match.cgroup"),
        ({"cgroup": "/user.slice/user-*.slice/**", "exe": "/usr/bin/pg"}, "add match.user"),
        ({"cgroup": "/system.slice/docker-????????????*.scope", "user": 0}, "name a unit in match.cgroup"),
        ({"exe": "not:/usr/bin/sh", "user": 0}, "name the program in match.exe"),
        ({"exe": "/**", "user": "0-4294967295"}, "name the program in match.exe"),
        ({"pod": {"labels": "app=pg"}}, "add the exact namespace to match.pod"),
        ({"pod": {"namespace": "not:kube-system"}}, "name each namespace of match.pod exactly"),
        ({"pod": True}, "add the exact namespace to match.pod"),
        ({"pod": {"namespace": "*-csi"}}, "name each namespace of match.pod exactly"),
        ({"pod": {"namespace": ["db", "re:x|y"]}}, "name each namespace of match.pod exactly"),
        ({"pod": False, "comm": "pg", "user": 0}, "add match.exe, or match.cgroup of its unit"),
    ],
)
@pytest.mark.parametrize(
    ("action", "what"),
    [
        ({"oom_score_adj": -1}, "oom_score_adj -1"),
        ({"oom_score_adj": {"at_most": 999}}, "oom_score_adj at_most 999"),
        ({"oom_score_adj": {"value": 5, "children": -5}}, "oom_score_adj children -5"),
        ({"in_place": {"memory.low": "1Mi"}}, "memory.low"),
        ({"cgroup": {"path": "/a", "settings": {"memory.min": "1Mi"}}}, "memory.min"),
        ({"in_place": {"memory.max": "max"}}, "memory.max"),
        ({"in_place": {"memory.oom_control": 1}}, "memory.oom_control"),
        ({"cgroup": {"path": "/a"}, "leave_kubepods": True}, "it may leave a group's limits"),
    ],
)
def test_what_protects_by_claims_is_refused_in_one_line_that_says_what_to_add(match, add, action, what):
    with pytest.raises(ConfigError) as refused:
        load(match, **action)
    assert str(refused.value).startswith(f'rule "x": match: it protects ({what}) by claims alone: {add}')
    assert str(refused.value).endswith("; trust_claims: true lifts this")
    assert rules({"match": match, "trust_claims": True, **action})


@pytest.mark.parametrize(
    "action",
    [
        {"oom_score_adj": 300},
        {"oom_score_adj": {"at_least": -500}},
        {"in_place": {"memory.max": "1Mi", "memory.low": 0}},
        {"cgroup": {"path": "/a"}},
    ],
)
def test_what_only_lowers_may_go_by_claims(action):
    assert load({"comm": "pg"}, **action)


@given(st.text(alphabet="*?/@"))
def test_a_pattern_of_wildcards_alone_names_no_unit(text):
    assert not names_a_unit(f"/{text}")
    assert not names_a_unit(f"/{text}*.service")


BOOK = load({"exe": "/usr/bin/pg", "user": [26, 27]})


def pg(**given):
    return process(**{"exe": "/usr/bin/pg", "uid": 26, "evidence": PROVEN, **given})


class TestAtRunTime:
    def test_a_process_that_facts_name_is_protected(self):
        decision = plan(pg(), BOOK, HOST)
        assert ([change.after for change in decision.changes], decision.by_claim) == ([-500], False)

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({"evidence": CLAIMED}, "exe is not a fact: /x is writable by uid 1001"),
            ({"uids": (1001, 26, 26)}, "user is not a fact: it was started by uid 1001"),
            ({"uids": (26, 26, 0)}, "user is not a fact: it was started by uid 0"),
            ({"uids": ()}, "user is not a fact: it was not read"),
            ({"evidence": Evidence()}, "exe is not a fact: it was not read"),
        ],
    )
    def test_a_claim_protects_nobody_and_says_which_it_is(self, given, why):
        decision = plan(pg(**given), BOOK, HOST)
        assert decision.changes == ()
        (refusal,) = decision.refusals
        assert (refusal.reason, refusal.field, why in refusal.detail) == (Reason.CLAIM, Field.OOM_SCORE_ADJ, True)

    def test_what_was_given_before_is_given_back(self):
        held = pg(oom_score_adj=-500, held=Held(0, -500, "x"), evidence=CLAIMED)
        assert not plan(held, BOOK, HOST).adjusts

    def test_what_cannot_be_said_takes_nothing_away_and_gives_nothing(self):
        unsure = Evidence("it was replaced", "", "", ("exe",))
        kept = plan(pg(oom_score_adj=-500, held=Held(0, -500, "x"), evidence=unsure), BOOK, HOST)
        assert (kept.changes, kept.adjusts) == ((), True)
        new = plan(pg(evidence=unsure), BOOK, HOST)
        assert (new.changes, new.adjusts) == ((), False)

    def test_a_value_that_is_no_protection_needs_no_facts(self):
        book = load({"comm": "postgres"}, oom_score_adj=300)
        assert plan(process(evidence=Evidence()), book, HOST).changes[0].after == 300
        assert plan(process(evidence=Evidence(), oom_score_adj=985), book, HOST).changes == ()

    def test_a_rule_that_trusts_claims_says_so(self):
        book = rules({"name": "x", "match": {"exe": "/usr/bin/pg", "user": 26}, "trust_claims": True, **LOWERS})
        decision = plan(pg(evidence=CLAIMED), book, HOST)
        assert ([change.after for change in decision.changes], decision.by_claim) == ([-500], True)

    def test_on_v1_the_memory_and_the_systemd_hierarchy_must_say_it(self):
        book = load({"cgroup": UNIT, "user": 26})
        both = {"memory": UNIT, "name=systemd": UNIT, "cpu": "/", "": "/"}
        assert plan(pg(cgroups=both), book, HOST).changes
        for lacking in ("memory", "name=systemd"):
            decision = plan(pg(cgroups={**both, lacking: "/"}), book, HOST)
            assert "cgroup is not a fact: it is in /, too" in decision.refusals[0].detail

    def test_on_v1_the_group_that_the_rule_itself_moved_it_to_is_no_other_place(self):
        book = load({"cgroup": UNIT, "user": 26}, cgroup={"path": "/kept", "settings": {"memory.low": "1Mi"}})
        moved = pg(cgroups={"memory": "/kept", "name=systemd": UNIT, "": "/"})
        host = v1_host(hierarchies=("memory", "name=systemd", ""))
        assert (plan(moved, book, host).moves, plan(moved, book, host).refusals) == (True, ())

    @pytest.mark.parametrize("kept", ["/kept", "/kept/a", "/kept/a/b"])
    def test_a_group_below_one_whose_memory_is_kept_from_reclaim_is_kept_too(self, kept):
        groups = {kept: GroupFacts(values={"memory.low": "1048576"})}
        book = rules({"name": "x", "match": {"comm": "pg"}, "cgroup": {"path": "/kept/a/b"}, "trust_claims": False})
        (refusal,) = plan(process(comm="pg"), book, v2_host(groups=groups)).refusals
        assert (refusal.reason, refusal.field) == (Reason.CLAIM, Field.CGROUP)
        by_facts = load({"exe": "/usr/bin/pg", "user": 26}, cgroup={"path": "/kept/a/b"})
        assert by_facts.evidence_for(pg())[0] == {"exe"}
        assert plan(pg(), by_facts, v2_host(groups=groups)).moves

    def test_a_namespace_is_a_fact_where_the_runtime_names_the_group(self):
        pod = PodRef("u", "burstable", "c", group="/kubepods/podu/c", namespace="db")
        group = {"cgroups": {"": pod.group}, "pod": pod, "oom_score_adj": 985}
        assert plan(process(**group), load(NS), HOST).changes
        assert plan(process(**group, evidence=CLAIMED), load(NS), HOST).refusals[0].reason is Reason.CLAIM


class TestLimitsOfItsOwnGroup:
    """A setting in place that leaves a process's group less limited is a way out of limits."""

    GROUP = "/system.slice/x.service"
    V2 = {  # noqa: RUF012
        "memory.max": "536870912",
        "pids.max": "100",
        "cpu.max": "20000 100000",
        "io.max": "8:0 rbps=1048576 wbps=max riops=max wiops=max",
        "cpuset.cpus": "0-1",
    }
    V1 = {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "100000"}  # noqa: RUF012

    def plan(self, in_place, evidence, values, host=HOST):
        match = {"comm": "postgres", "cgroup": self.GROUP, "user": 26}
        host = replace(host, groups={self.GROUP: GroupFacts(values=values)})
        some = process(
            uid=26, uids=(26, 26, 26), cgroups=dict.fromkeys(host.hierarchies, self.GROUP), evidence=evidence
        )
        return plan(some, load(match, in_place=in_place), host)

    @pytest.mark.parametrize(
        "more",
        [
            {"memory.max": "1Gi"},
            {"memory.max": "max"},
            {"pids.max": 101},
            {"cpu.max": "20001"},
            {"cpu.max": "20000 90000"},
            {"io.max": "8:0 rbps=1048577"},
            {"cpuset.cpus": "1-2"},
        ],
    )
    def test_are_raised_by_facts_alone(self, more):
        refused = self.plan(more, CLAIMED, self.V2)
        assert (refused.changes, [one.reason for one in refused.refusals]) == ((), [Reason.CLAIM])
        assert [change.file for change in self.plan(more, PROVEN, self.V2).changes] == list(more)

    @pytest.mark.parametrize("more", [{"cpu.cfs_quota_us": 20001}, {"cpu.cfs_period_us": 99999}])
    def test_are_raised_by_facts_alone_on_v1(self, more):
        refused = self.plan(more, CLAIMED, self.V1, v1_host())
        assert (refused.changes, [one.reason for one in refused.refusals]) == ((), [Reason.CLAIM])

    @pytest.mark.parametrize(
        "less",
        [
            {"memory.max": "1Mi"},
            {"pids.max": 99},
            {"cpu.max": "20000 100001"},
            {"io.max": "8:0 rbps=1048575"},
            {"io.max": "8:16 rbps=1"},
            {"cpuset.cpus": "1"},
            {"cpu.weight": 1000},
        ],
    )
    def test_are_lowered_by_claims_as_well(self, less):
        assert not self.plan(less, CLAIMED, self.V2 | {"cpu.weight": "100"}).refusals

    def test_are_not_raised_where_nobody_can_say_what_they_are(self):
        assert self.plan({"memory.max": "1Gi"}, CLAIMED, {}).refusals[0].reason is Reason.CLAIM

    def test_compare_for_one_device_by_what_no_limit_is_there(self):
        file = "blkio.throttle.read_bps_device"
        assert [widens(file, text, "8:0 1000") for text in ("8:0 0", "8:0 999", "8:16 0")] == [True, False, False]

    @given(wanted=st.integers(0, 2**40), now=st.integers(0, 2**40))
    def test_compare_as_sizes(self, wanted, now):
        assert widens("memory.max", str(wanted), str(now)) is (wanted > now)


def test_the_pause_container_is_taken_by_its_name_alone():
    pause = PodRef("u", "burstable", "c", namespace="db", container="POD")
    some = process(pod=pause, oom_score_adj=-998)
    raised = {"oom_score_adj": {"at_least": 950}}
    for match in (NS, {"pod": True}, {"pod": {}}, {"pod": {"qos": "burstable"}}, {"pod": {"labels": "!x"}}):
        assert rules({"match": match, **raised}).find(some) is None
    assert rules({"match": {"pod": {"namespace": "db", "container": "POD"}}, **raised}).find(some)


def test_a_group_below_the_kubelets_that_cannot_be_read_is_neither_a_pods_nor_none():
    unknown = process(pod_unknown=True)
    for match in ({"pod": False}, {"pod": True}, {"pod": {}}):
        assert rules({"match": match}).find(unknown) is None


def test_evidence_is_read_for_those_alone_that_a_rule_may_protect():
    book = load({"comm": "postgres", "exe": "/usr/bin/pg", "user": 26})
    assert book.evidence_for(pg()) == ({"exe"}, False)
    assert book.evidence_for(pg(uid=5)) == (frozenset(), False)
    assert load({"comm": "postgres"}, oom_score_adj={"at_least": 5}).evidence_for(process()) == (frozenset(), False)
    assert load({"cgroup": UNIT, "user": 26, "descendants": True}).evidence_for(
        process(ancestors=(pg(cgroups={"": UNIT}),))
    ) == ({"cgroup"}, True)


def test_an_explanation_says_of_each_key_that_holds_whether_it_is_a_fact():
    book = load({"comm": "postgres", "exe": "/usr/bin/pg", "user": 26})
    (only,) = explain(pg(uids=(1001, 26, 26)), book, HOST).considered
    assert [(key.key, bool(key.claim)) for key in only.keys] == [
        ("match.comm", True),
        ("match.exe", False),
        ("match.user", True),
    ]


LENDER = pg(pid=50, oom_score_adj=-500, held=Held(0, -500, "x"))


def child(**given):
    return process(60, "sh", **{"ppid": 50, "oom_score_adj": -500, "ancestors": (LENDER,), **given})


class TestWhatIsInherited:
    def test_what_no_rule_matches_goes_back_to_the_base(self):
        decision = plan(child(), BOOK, HOST)
        assert ([change.after for change in decision.changes], decision.as_child) == ([0], True)
        settled = child(oom_score_adj=0, held=Held(0, 0, "x", as_child=True))
        assert (plan(settled, BOOK, HOST).changes, plan(settled, BOOK, HOST).rule) == ((), "x")

    def test_what_chose_another_value_is_left_alone(self):
        assert plan(child(oom_score_adj=100), BOOK, HOST).rule is None

    def test_what_descends_from_a_match_that_has_nothing_of_ours_is_left_alone(self):
        own = pg(pid=50, oom_score_adj=-500)
        assert plan(child(ancestors=(own,)), BOOK, HOST).rule is None

    def test_what_is_known_to_have_inherited_is_given_the_base_as_well(self):
        heir = child(held=Held(0, -500, "x"))
        decision = plan(heir, BOOK, HOST)
        assert ([change.after for change in decision.changes], decision.as_child) == ([0], True)

    def test_a_rule_may_let_it_inherit(self):
        book = load({"exe": "/usr/bin/pg", "user": 26}, oom_score_adj={"value": -500, "children": "inherit"})
        decision = plan(child(), book, HOST)
        assert (decision.rule, decision.changes, decision.inherited) == ("x", (), True)

    def test_base_in_words_is_for_a_match_below_a_match_too(self):
        book = load({"exe": "/usr/bin/pg", "user": 26}, oom_score_adj={"value": -500, "children": "base"})
        worker = pg(pid=60, ppid=50, oom_score_adj=-500, ancestors=(LENDER,))
        assert [change.after for change in plan(worker, book, HOST).changes] == [0]
        assert plan(worker, BOOK, HOST).changes == ()

    def test_what_a_rule_matches_by_a_claim_goes_back_to_the_base(self):
        book = rules(
            {"name": "x", "match": {"exe": "/usr/bin/pg", "user": 26}, "trust_claims": False, **LOWERS},
            {"name": "y", "match": {"exe": "/usr/bin/sh", "user": 0}, "trust_claims": False, **LOWERS},
        )
        decision = plan(child(exe="/usr/bin/sh", evidence=CLAIMED), book, HOST)
        assert [change.after for change in decision.changes] == [0]

    def test_bounds_are_bounds_of_the_base_and_not_of_what_was_inherited(self):
        book = load({"exe": "/usr/bin/sh", "user": 0}, oom_score_adj={"at_most": -100})
        decision = plan(child(exe="/usr/bin/sh"), book, HOST)
        assert [change.after for change in decision.changes] == [-100]
