from __future__ import annotations

import pytest
from holdfast.errors import ConfigError
from holdfast.node.model.process import Held, Lineage
from holdfast.pods.cgroup_path import PodRef
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.placement import process, rules, v1_process

POD = PodRef("u1", "burstable", "c1", namespace="db", name="pg-0", container="postgres", labels={"app": "postgres"})


def found(book, some):
    answer = book.find(some)
    return answer and (answer.rule.name, answer.as_child)


@pytest.mark.parametrize(
    ("match", "given", "expected"),
    [
        ({"comm": "postgres"}, {}, True),
        ({"comm": ["mysqld", "postgres"]}, {}, True),
        ({"comm": "mysqld"}, {}, False),
        ({"exe": "/usr/lib/*/bin/postgres"}, {"exe": "/usr/lib/16/bin/postgres"}, True),
        ({"exe": "/usr/*"}, {"exe": "/usr/lib/16/bin/postgres"}, False),
        ({"exe": "/x"}, {"exe": ""}, False),
        ({"cmdline": "postgres: *writer*"}, {"cmdline": ("postgres:", "background", "writer")}, True),
        ({"user": "postgres"}, {"uid": 26}, True),
        ({"user": 26}, {"uid": 26}, True),
        ({"user": ["1000-1999", "26"]}, {"uid": 1500}, True),
        ({"user": "nobody-here"}, {"uid": 26}, False),
        ({"user": 0}, {"uid": 0}, True),
        ({"cgroup": "/system.slice/**"}, {}, True),
        ({"cgroup": "/batch.slice/**"}, {}, False),
        ({"pod": {}}, {}, False),
        ({"pod": True}, {"pod": POD}, True),
        ({"pod": False}, {"pod": POD}, False),
        ({"pod": False}, {}, True),
        ({"pod": {}}, {"pod": POD}, True),
        ({"pod": {"namespace": "db", "container": "post*"}}, {"pod": POD}, True),
        ({"pod": {"labels": "app=postgres"}}, {"pod": POD}, True),
        ({"pod": {"labels": ["app=mysql", "!app"]}}, {"pod": POD}, False),
        ({"pod": {"annotations": "x"}}, {"pod": POD}, False),
        ({"pod": {"qos": ["besteffort", "burstable"]}}, {"pod": POD}, True),
        ({"pod": {"uid": "u2"}}, {"pod": POD}, False),
        ({"pod": {"name": "pg-*"}, "comm": "other"}, {"pod": POD}, False),
        ({"comm": "postgres", "cgroup": "/system.slice/*", "user": 26}, {"uid": 26}, True),
        ({"leader": True}, {"exe": "/pg", "ancestors": (process(1, "systemd", exe="/init"),)}, True),
        ({"leader": True}, {"exe": "/pg", "ancestors": (process(9, "x", exe="/pg"),)}, False),
        ({"leader": False}, {"ancestors": (process(9, "postgres"),)}, True),
        ({"leader": True}, {}, True),
    ],
)
def test_all_keys_must_hold_and_in_a_list_any(match, given, expected):
    book = rules({"match": match}, users={"postgres": 26})
    some = process(**given)
    assert (book.find(some) is not None) is expected
    assert book.consider(some)[0].holds is expected


def test_the_first_rule_that_holds_decides():
    book = rules({"match": {"comm": "post*"}}, {"match": {"comm": "postgres"}}, {"match": {"cgroup": "/**"}})
    assert found(book, process()) == ("r1", False)
    assert found(book, process(comm="nginx")) == ("r3", False)


def test_on_v1_any_hierarchys_path_may_hold():
    book = rules({"match": {"cgroup": "/batch/**"}})
    some = v1_process(group="/")
    assert book.find(some) is None
    assert found(book, process(cgroups={**some.cgroups, "memory": "/batch/job"})) == ("r1", False)


def test_a_process_in_no_cgroup_we_know_matches_rules_that_do_not_ask():
    book = rules({"match": {"cgroup": "/**"}}, {"match": {"comm": "postgres"}})
    assert found(book, process(cgroups={})) == ("r2", False)


def test_descendants_hold_as_their_ancestor_does():
    book = rules({"match": {"comm": "sshd", "user": 0, "descendants": True}})
    line = (process(5, "bash", uid=1000), process(4, "sshd", uid=0), process(1, "systemd"))
    assert book.lineage is Lineage.ALL
    assert found(book, process(comm="vim", uid=1000, ancestors=line)) == ("r1", False)
    assert book.find(process(comm="vim", uid=1000, ancestors=line[2:])) is None
    assert book.may_hold_children_of("r1")
    assert book.could_match("vim")


def test_descendants_may_ask_for_a_leader_with_its_own_parent():
    book = rules({"match": {"comm": "sshd", "leader": True, "descendants": True}})
    inner, outer = process(5, "sshd"), process(4, "sshd")
    assert book.find(process(6, "sshd", ancestors=(inner, outer))) is not None
    assert book.find(process(6, "sshd", ancestors=(inner,))) is not None


POSTGRES = {"match": {"comm": "postgres"}, "oom_score_adj": {"value": -900, "children": 0}}


class TestChildren:
    def test_a_match_whose_parent_matches_the_same_rule_is_a_child(self):
        book = rules(POSTGRES)
        assert found(book, process(ancestors=(process(9), process(1, "systemd")))) == ("r1", True)
        assert found(book, process(ancestors=(process(1, "systemd"),))) == ("r1", False)

    def test_what_no_rule_matches_falls_to_the_nearest_ancestor_that_one_does(self):
        book = rules(POSTGRES)
        line = (process(20, "sh"), process(9), process(1, "systemd"))
        assert found(book, process(comm="psql", ancestors=line)) == ("r1", True)

    def test_its_own_match_comes_before_what_it_descends_from(self):
        book = rules(POSTGRES, {"match": {"comm": "batch"}})
        assert found(book, process(comm="batch", ancestors=(process(9),))) == ("r2", False)

    def test_a_nearer_rule_without_children_shields_its_descendants(self):
        book = rules(POSTGRES, {"match": {"comm": "batch"}})
        line = (process(20, "batch"), process(9))
        assert book.find(process(comm="worker", ancestors=line)) is None

    def test_a_child_stays_one_when_its_ancestors_are_gone(self):
        orphan = process(comm="psql", ancestors=(process(1, "systemd"),), held=Held(-900, 0, "r1", as_child=True))
        assert found(rules(POSTGRES), orphan) == ("r1", True)
        assert rules({"match": {"comm": "postgres"}}).find(orphan) is None


@pytest.mark.parametrize(
    ("match", "lineage"),
    [
        ({"comm": "a"}, Lineage.NONE),
        ({"leader": False}, Lineage.PARENT),
        ({"comm": "a", "descendants": True}, Lineage.ALL),
    ],
)
def test_the_ancestry_needed_is_said(match, lineage):
    assert rules({"match": match}).lineage is lineage


def test_a_name_no_rule_can_hold_for_is_known_from_the_name_alone():
    book = rules({"match": {"comm": ["containerd*", "kubelet"], "user": 0}})
    assert [book.could_match(comm) for comm in ("containerd-shim", "kubelet", "bash")] == [True, True, False]
    assert rules({"match": {"cgroup": "/x/**"}}).could_match("bash")
    assert not rules().could_match("bash")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"match": {}}, 'rule "x": match: name at least one key; comm: "*" means every process'),
        ({"match": {"comm": "re:("}}, 'rule "x": match.comm: "re:(" is not a regular expression of RE2: '),
        (
            {"match": {"comm": "containerd-shim-runc-v2"}},
            'rule "x": match.comm: "containerd-shim-runc-v2" needs at least 23 bytes, and the kernel keeps 15: '
            'write "containerd-shim", or match exe',
        ),
        ({"match": {"comm": "containerd-shim-*"}}, 'rule "x": match.comm: "containerd-shim-*" needs at least 16'),
        ({"match": {"cgroup": "batch"}}, 'rule "x": match.cgroup: "batch" must begin with /'),
        ({"match": {"pod": {"labels": "a=,,"}}}, 'rule "x": match.pod.labels: "a=,," is not a label selector'),
        ({"match": {"pod": {"name": "re:["}}}, 'rule "x": match.pod.name: '),
        ({"oom_score_adj": {}}, 'rule "x": oom_score_adj: give a number, or one of value, at_least, at_most, children'),
        ({"oom_score_adj": {"value": 1, "at_most": 2}}, 'rule "x": oom_score_adj: value cannot stand beside'),
        ({"oom_score_adj": {"at_least": 5, "at_most": 2}}, 'rule "x": oom_score_adj: at_least 5 is above at_most 2'),
        (
            {"oom_score_adj": -1000},
            'rule "x": oom_score_adj.value: -1000 hides a process from every OOM; add unkillable',
        ),
        ({"oom_score_adj": {"children": -1000}}, 'rule "x": oom_score_adj.children: -1000 hides'),
        ({"cgroup": {"path": "/"}}, 'rule "x": cgroup.path: "/" must name a group below the root'),
        ({"cgroup": {"path": "/a/../b"}}, 'rule "x": cgroup.path: "/a/../b" must name'),
        ({"cgroup": {"path": "a"}}, 'rule "x": cgroup.path: "a" must name'),
        ({"cgroup": {"path": "/a"}, "in_place": {"memory.max": 1}}, 'rule "x": in_place: a rule that moves'),
    ],
)
def test_a_bad_rule_is_one_line_with_its_name_and_key(rule, message):
    with pytest.raises(ConfigError) as refused:
        rules({"name": "x", "match": {"comm": "a"}, **rule})
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_rule_that_does_nothing_and_a_name_used_twice_are_refused():
    with pytest.raises(ConfigError, match='rule "x": name: there is a rule of this name already'):
        rules({"name": "x", "match": {"comm": "a"}}, {"name": "x", "match": {"comm": "b"}})
    with pytest.raises(ConfigError, match='rule "x": it does nothing: give oom_score_adj, cgroup or in_place'):
        rules({"name": "x", "match": {"comm": "a"}, "in_place": {}})


def test_an_explanation_names_the_first_clause_that_failed_and_what_was_found():
    book = rules({"match": {"comm": "postgres", "user": 5, "pod": {"namespace": "db"}}}, {"match": {"comm": "x"}})
    first, second = book.consider(process(uid=3))
    assert (first.clause, first.wanted, first.found) == ("match.user", "5", "3")
    assert (second.clause, second.wanted, second.found) == ("match.comm", "x", "postgres")


def test_a_user_this_node_does_not_know_is_said():
    (only,) = rules({"match": {"user": "ghost"}}).consider(process())
    assert only.wanted == "ghost (no user ghost on this node)"


def test_each_rule_may_leave_the_plugins_dry_run():
    book = rules({"match": {"comm": "a"}}, {"match": {"comm": "b"}, "dry_run": False}, dry_run=True)
    assert [rule.dry_run for rule in book.rules] == [True, False]


_COMM = st.sampled_from(["a", "b", "ab", "*", "a*", "?"])
_MATCH = st.fixed_dictionaries(
    {},
    optional={
        "comm": st.lists(_COMM, min_size=1, max_size=2),
        "exe": st.sampled_from(["/a", "/*", "/**"]),
        "user": st.sampled_from([0, "1-5"]),
        "cgroup": st.sampled_from(["/x", "/x/**", "/**"]),
        "cmdline": st.sampled_from(["a *", "*"]),
        "pod": st.sampled_from([{}, {"qos": "burstable"}]),
        "leader": st.booleans(),
        "descendants": st.booleans(),
    },
).filter(lambda match: set(match) - {"descendants"})
_PROCESS = st.builds(
    lambda comm, exe, uid, group, cmdline, pod, parent: process(
        comm=comm, exe=exe, uid=uid, cgroups={"": group, "m": "/"}, cmdline=cmdline, pod=pod, ancestors=parent
    ),
    st.sampled_from(["a", "b", "ab", ""]),
    st.sampled_from(["", "/a", "/a/b"]),
    st.integers(0, 6),
    st.sampled_from(["/", "/x", "/x/y", "/z"]),
    st.sampled_from([(), ("a", "b")]),
    st.sampled_from([None, POD]),
    st.sampled_from([(), (process(2, "a", exe="/a"),)]),
)


@given(st.lists(_MATCH, max_size=8), st.lists(_PROCESS, min_size=1, max_size=4))
def test_the_index_finds_what_asking_rule_by_rule_finds(matches, processes):
    book = rules(*({"match": match} for match in matches))
    for some in processes:
        slow = next((considered.rule for considered in book.consider(some) if considered.holds), None)
        own = book.own_match(some)
        assert (own and own.name) == slow
        assert slow is None or book.could_match(some.comm)
