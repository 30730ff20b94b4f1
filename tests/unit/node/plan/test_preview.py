from __future__ import annotations

import msgspec
from holdfast.node.model.decision import Field, Reason
from holdfast.node.model.memory_domain import MemoryDomain
from holdfast.node.model.process import Lineage
from holdfast.node.plan.preview import look_ahead, rank_all, with_ancestors
from holdfast.node.rule.annotation import BY_ANNOTATION
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import Admission, Rule
from holdfast.pods.cgroup_path import PodRef

from tests.fakes.placement import process, rules, v1_host, v1_process, v2_host

INIT = process(1, "systemd", ppid=0)


def test_everybody_under_a_rule_is_planned_in_the_rules_order():
    book = rules({"match": {"comm": "b"}}, {"match": {"comm": "a"}})
    preview = look_ahead([INIT, process(30, "a"), process(20, "a"), process(10, "b")], book, v2_host())
    assert [(some.process.pid, some.decision.rule) for some in preview.planned] == [(10, "r1"), (20, "r2"), (30, "r2")]
    assert preview.looked_at == 4
    assert preview.adjusted == {10: 1, 20: 2, 30: 2}


def test_ancestors_are_found_among_the_others_as_far_as_asked():
    line = {1: INIT, 5: process(5, ppid=1), 9: process(9, ppid=5)}
    found = [[a.pid for a in with_ancestors(line[9], line, lineage).ancestors] for lineage in Lineage]
    assert found == [[], [5], [5, 1]]


def test_a_loop_of_parents_ends():
    loop = {5: process(5, ppid=9), 9: process(9, ppid=5)}
    assert len(with_ancestors(loop[9], loop, Lineage.ALL).ancestors) == 64


def test_children_are_planned_by_their_leader():
    book = rules({"match": {"comm": "postgres"}, "oom_score_adj": {"value": -900, "children": 3}})
    preview = look_ahead([INIT, process(5), process(6, ppid=5), process(8, "psql", ppid=6)], book, v2_host())
    assert preview.adjusted == {5: -900, 6: 3, 8: 3}


def test_moves_count_where_memory_is_limited():
    book = rules({"match": {"comm": "a"}, "cgroup": {"path": "/b"}})
    assert look_ahead([process(5, "a")], book, v2_host()).moved == {5: "/b"}
    assert look_ahead([v1_process(5, "a")], book, v1_host()).moved == {5: "/b"}
    only_cpu = rules({"match": {"comm": "a"}, "cgroup": {"path": "/b", "controllers": ["cpu"]}})
    assert look_ahead([v1_process(5, "a")], only_cpu, v1_host()).moved == {}


def test_what_a_pod_is_admitted_to_stands_between_the_rules():
    asked = msgspec.convert([{"namespaces": "db", "oom_score_adj": {"min": -500}}], tuple[Admission, ...])
    own, builtin = msgspec.convert(
        [
            {"name": "own", "match": {"comm": "b"}, "oom_score_adj": 1},
            {"name": "builtin", "match": {"comm": "*"}, "oom_score_adj": 2, "yields_to_annotations": True},
        ],
        tuple[Rule, ...],
    )
    wants = {"holdfast.dev/oom-score-adj": "-400"}
    pod = PodRef("u", "burstable", "c", namespace="db", name="pg-0", container="pg", annotations=wants)
    processes = [process(10, "a"), process(20, "pg", pod=pod), process(30, "b")]
    preview = look_ahead(processes, compile_rules((own, builtin), annotations=asked), v2_host())
    assert [some.decision.rule for some in preview.planned] == ["own", BY_ANNOTATION, "builtin"]
    assert preview.adjusted == {10: 2, 20: -400, 30: 1}


def test_of_two_rules_with_different_settings_for_one_group_the_first_decides_whoever_is_seen_first():
    book = rules(
        {"match": {"comm": "a"}, "cgroup": {"path": "/x", "settings": {"memory.max": "1Mi"}}},
        {"match": {"comm": "b"}, "cgroup": {"path": "/x", "settings": {"memory.max": "2Mi", "pids.max": 5}}},
    )
    preview = look_ahead([process(5, "b"), process(6, "a")], book, v2_host())
    first, second = preview.planned
    assert [(c.file, c.after) for c in first.decision.changes if c.field is Field.SETTING] == [
        ("memory.max", "1048576")
    ]
    assert [(c.file, c.after) for c in second.decision.changes if c.field is Field.SETTING] == [("pids.max", "5")]
    assert [r.reason for r in second.decision.refusals] == [Reason.CONFLICT]
    assert 'rule "r1"' in second.decision.refusals[0].detail


def test_each_domain_is_ranked_before_and_after_and_empty_ones_are_left_out():
    book = rules({"match": {"comm": "a"}, "oom_score_adj": 1000})
    processes = [process(5, "a", rss_pages=1), process(6, "b", rss_pages=900)]
    domains = [MemoryDomain("/system.slice", 1000), MemoryDomain("/empty", 1000)]
    ((now, after),) = rank_all(processes, domains, v2_host(), look_ahead(processes, book, v2_host()))
    assert (now.victim.process.pid, after.victim.process.pid) == (6, 5)
