from __future__ import annotations

import pytest
from holdfast.errors import ConfigError
from holdfast.node.plan.plan import plan
from holdfast.node.rule import builtin
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import OomScoreAdj, PlacementConfig, Rule
from holdfast.pods.cgroup_path import PodRef

from tests.fakes.placement import process, rules, v2_host

INIT = process(1, "systemd", exe="/usr/lib/systemd/systemd")
BOOK = compile_rules(builtin.with_builtin(PlacementConfig()), {"postgres": 26}.get)
SERVICE = {"": "/system.slice/x.service"}
DEBIAN = "/system.slice/system-postgresql.slice/postgresql@16-main.service"
IN_POD = {"cgroups": {"": "/kubepods/podu/c"}}


def rule_of(some):
    return plan(some, BOOK, v2_host()).rule


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (process(comm="containerd", cgroups=SERVICE), "container-runtime"),
        (process(comm="containerd", cgroups={"": "/system.slice/docker-1.scope"}), None),
        (process(comm="containerd", uid=1000, cgroups=SERVICE), None),
        (process(comm="containerd", pod=PodRef("u", "burstable"), **IN_POD), None),
        (process(comm="containerd-shim", cgroups={"": "/system.slice/containerd.service"}), "container-shim"),
        (process(comm="kubelet", cgroups={"": "/system.slice/kubelet.service"}), "kubelet"),
        (process(comm="kubelet", pod=PodRef("u", "burstable"), **IN_POD), None),
        (process(comm="sshd", cgroups={"": "/system.slice/ssh.service"}, ancestors=(INIT,)), "sshd"),
        (process(comm="sshd", cgroups={"": "/user.slice/s.scope"}, ancestors=(process(9, "sshd"), INIT)), None),
        (process(comm="agetty"), "console-login"),
        (process(comm="prometheus-node", exe="/usr/bin/prometheus-node-exporter", cgroups={"": "/"}), "node-exporter"),
        (process(comm="postgres", uid=26, cgroups={"": "/"}, ancestors=(INIT,)), "postgresql"),
        (process(comm="postgres", uid=26, cgroups={"": DEBIAN}, ancestors=(INIT,)), "postgresql"),
        (process(comm="postgres", uid=1000, cgroups={"": DEBIAN}, ancestors=(INIT,)), None),
        (process(comm="sleep", cgroups={"": "/batch.slice/job.service"}), "batch-first-to-die"),
        (
            process(pod=PodRef("u", "burstable", namespace="kube-system", container="cilium-agent"), **IN_POD),
            "cni",
        ),
        (process(pod=PodRef("u", "burstable", namespace="evil", container="cilium-agent"), **IN_POD), None),
    ],
)
def test_a_name_alone_protects_nobody(some, expected):
    assert rule_of(some) == expected


def test_a_postgres_worker_gets_what_children_get():
    leader = process(50, uid=26, cgroups={"": "/"}, oom_score_adj=-900, ancestors=())
    decision = plan(process(60, uid=26, oom_score_adj=-900, ancestors=(leader, INIT)), BOOK, v2_host())
    assert (decision.rule, decision.as_child, decision.changes[0].after) == ("postgresql", True, "0")


def test_every_file_is_known_by_its_name_and_compiles():
    assert builtin.names() == (
        "batch",
        "container-runtime",
        "kubelet",
        "logins",
        "node-daemons",
        "node-exporter",
        "postgresql",
    )
    for name in builtin.names():
        assert builtin.text(name).startswith("# ")
        assert all(rule.reason for rule in builtin.load(name))


def test_the_optional_ones_come_to_who_names_them_alone():
    assert builtin.optional() == ("batch-pods", "cloudnative-pg", "sidecars", "single-process-oom-kill")
    ours = {rule.name for name in builtin.optional() for rule in builtin.load(name)}
    for config in (PlacementConfig(), PlacementConfig(builtin_rules="all"), PlacementConfig(builtin_rules=("all",))):
        assert not ours & {rule.name for rule in builtin.with_builtin(config)}
    with_one = builtin.with_builtin(PlacementConfig(builtin_rules=("all", "sidecars")))
    assert with_one[0].name == "sidecars"
    assert with_one[1:] == builtin.with_builtin(PlacementConfig(builtin_rules="all"))
    for name in builtin.optional():
        assert builtin.text(name).startswith("# ")
        assert all(rule.reason and not rule.unkillable for rule in builtin.load(name))


EVERYTHING = compile_rules(builtin.with_builtin(PlacementConfig(dry_run=False, builtin_rules=builtin.known()[::-1])))
GROUP = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podu.slice/cri-containerd-c.scope"


def in_pod(container="main", labels=None, namespace="team-a", adj=985, **given):
    """A container's first process, as the kubelet starts it on cgroup v2 since 1.28."""
    pod = PodRef("u", "burstable", "c", namespace=namespace, name="p", container=container, labels=labels or {})
    return process(pod=pod, cgroups={"": GROUP}, oom_score_adj=adj, **given)


def changes_of(some):
    decision = plan(some, EVERYTHING, v2_host())
    return decision.rule, [(change.file or change.field.value, change.after) for change in decision.changes]


CNPG = {"cnpg.io/cluster": "pg", "cnpg.io/instanceName": "pg-1", "cnpg.io/podRole": "instance", "role": "primary"}


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (in_pod(labels={"batch.kubernetes.io/job-name": "nightly"}), ("batch-pods", [("oom_score_adj", "1000")])),
        (in_pod(labels={"spark-role": "executor"}), ("batch-pods", [("oom_score_adj", "1000")])),
        (in_pod(labels={"spark-role": "driver"}), (None, [])),
        (in_pod(labels={"job-name": "x"}, namespace="kube-system"), (None, [])),
        (in_pod(labels={"job-name": "x"}, namespace="kube-system-2"), ("batch-pods", [("oom_score_adj", "1000")])),
        (in_pod("istio-proxy", adj=999), ("sidecars", [("oom_score_adj", "2")])),
        (in_pod("cloud-sql-proxy", adj=-997), ("sidecars", [])),
        (in_pod("envoy"), (None, [])),
        (
            in_pod(labels={"holdfast.dev/single-process-oom-kill": "true"}),
            ("single-process-oom-kill", [("memory.oom.group", "0")]),
        ),
        (in_pod(labels={"holdfast.dev/single-process-oom-kill": "false"}), (None, [])),
        (in_pod("postgres", CNPG | {"cnpg.io/podRole": "pooler"}), (None, [])),
        (in_pod("manager-sidecar", CNPG), (None, [])),
    ],
)
def test_each_optional_rule_finds_the_pods_it_is_for(some, expected):
    assert changes_of(some) == expected


def test_a_database_of_cloudnative_pg_dies_worker_by_worker():
    manager = in_pod("postgres", CNPG, pid=50, comm="manager")
    postmaster = in_pod("postgres", CNPG, pid=60, comm="postgres", ancestors=(manager,))
    assert changes_of(postmaster) == ("cloudnative-pg", [("oom_score_adj", "-900"), ("memory.oom.group", "0")])
    worker = in_pod("postgres", CNPG, pid=70, comm="postgres", adj=-900, ancestors=(postmaster, manager))
    assert changes_of(worker) == ("cloudnative-pg", [("oom_score_adj", "0")])
    assert changes_of(manager) == (None, [])


def test_none_of_them_makes_anything_unkillable_or_moves_it():
    assert not any(rule.unkillable or rule.cgroup or rule.in_place for rule in builtin.with_builtin(PlacementConfig()))


def test_the_operators_come_first_and_replace_by_name():
    (mine,) = rules({"name": "sshd", "match": {"comm": "dropbear"}}).rules
    config = PlacementConfig(rules=(mine.spec,), builtin_rules=("logins",))
    assert [(rule.name, rule.match.comm) for rule in builtin.with_builtin(config)] == [
        ("sshd", "dropbear"),
        ("console-login", ("agetty", "getty", "mingetty", "systemd-logind")),
    ]
    assert builtin.with_builtin(PlacementConfig(rules=(mine.spec,), builtin_rules="none")) == (mine.spec,)


def test_until_they_are_named_they_are_a_dry_run_whatever_the_plugin_says():
    preview = PlacementConfig(dry_run=False)
    assert {rule.dry_run for rule in builtin.with_builtin(preview)} == {True}
    named = PlacementConfig(dry_run=False, builtin_rules="all")
    assert {rule.dry_run for rule in builtin.with_builtin(named)} == {None}


def test_what_does_not_ship_is_refused_with_what_does():
    with pytest.raises(ValueError, match='builtin_rules: there are no built-in rules "nginx"; there are batch, '):
        PlacementConfig(builtin_rules=("nginx",))
    with pytest.raises(ConfigError, match='builtin_rules: there are no built-in rules "nginx"; there are batch, '):
        builtin.load("nginx")


def test_a_shipped_rule_reads_as_a_rule_of_ones_own():
    (first, *_) = builtin.load("container-runtime")
    assert isinstance(first, Rule)
    assert first.oom_score_adj == OomScoreAdj(at_most=-999)


def test_the_compiled_rules_are_those_of_the_files():
    with open(builtin.COMPILED, "rb") as file:
        assert file.read() == builtin.compiled() + b"\n", "run `make docs`"
