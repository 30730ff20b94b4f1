from __future__ import annotations

import pytest
from holdfast.errors import ConfigError
from holdfast.node.model.decision import Reason
from holdfast.node.model.evidence import Evidence
from holdfast.node.plan.plan import plan
from holdfast.node.rule import builtin
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import OomScoreAdj, PlacementConfig, Rule
from holdfast.pods.cgroup_path import PodRef

from tests.fakes.placement import PROVEN, process, rules, v2_host

INIT = process(1, "systemd", exe="/usr/lib/systemd/systemd")
OURS = {"kubelet": ("kube-system",), "node-daemons": ("kube-system", "calico-system"), "postgresql": ("db",)}
BOOK = compile_rules(
    builtin.with_builtin(PlacementConfig(builtin_namespaces=OURS | {"node-exporter": ("monitoring",)})),
    {"postgres": 26}.get,
)
DEFAULT = compile_rules(builtin.with_builtin(PlacementConfig()), {"postgres": 26}.get)
IN_POD = {"cgroups": {"": "/kubepods/podu/c"}}
PG = "/usr/lib/postgresql/16/bin/postgres"
DATA = "/var/lib/rancher/k3s/data/5a1c/bin"


def unit(name, slice_="system.slice"):
    return {"cgroups": {"": f"/{slice_}/{name}.service"}}


def rule_of(some, book=BOOK):
    decision = plan(some, book, v2_host())
    assert not decision.refusals
    return decision.rule


#: What runs on each kind of node, and the rule that protects it.
DEBIAN = [
    (process(comm="containerd", exe="/usr/bin/containerd", **unit("containerd")), "container-runtime"),
    (process(comm="dockerd", exe="/usr/sbin/dockerd", **unit("docker")), "container-runtime"),
    (process(comm="containerd-shim", exe="/usr/bin/containerd-shim-runc-v2", **unit("containerd")), "container-shim"),
    (process(comm="sshd", exe="/usr/sbin/sshd", ancestors=(INIT,), **unit("ssh")), "sshd"),
    (process(comm="agetty", exe="/sbin/agetty", **unit("getty@tty1")), "console-login"),
    (process(comm="systemd-logind", exe="/usr/lib/systemd/systemd-logind", **unit("systemd-logind")), "console-login"),
    (
        process(
            comm="prometheus-node", exe="/usr/bin/prometheus-node-exporter", uid=107, **unit("prometheus-node-exporter")
        ),
        "node-exporter",
    ),
    (
        process(
            exe=PG,
            uid=26,
            ancestors=(INIT,),
            **unit("postgresql@16-main", "system.slice/system-postgresql.slice"),
        ),
        "postgresql",
    ),
]
K3S = [
    (process(comm="k3s-server", exe=f"{DATA}/k3s", **unit("k3s")), "k3s"),
    (process(comm="k3s-agent", exe="/usr/local/bin/k3s", **unit("k3s-agent")), "k3s"),
    (process(comm="containerd", exe=f"{DATA}/k3s", **unit("k3s")), "k3s"),
    (process(comm="containerd", exe=f"{DATA}/containerd", **unit("k3s")), "container-runtime"),
    (process(comm="containerd-shim", exe=f"{DATA}/containerd-shim-runc-v2", **unit("k3s")), "container-shim"),
]
KUBELET = [
    (process(comm="kubelet", exe="/usr/bin/kubelet", **unit("kubelet")), "kubelet"),
    (process(comm="crio", exe="/usr/bin/crio", **unit("crio")), "container-runtime"),
    (process(comm="conmon", exe="/usr/bin/conmon", cgroups={"": "/system.slice/crio-conmon.scope"}), "container-shim"),
    (
        process(pod=PodRef("u", "burstable", namespace="kube-system", container="cilium-agent"), **IN_POD),
        "cni",
    ),
    (
        process(comm="kube-proxy", pod=PodRef("u", "burstable", namespace="kube-system"), **IN_POD),
        "kube-proxy",
    ),
]


@pytest.mark.parametrize(("some", "expected"), DEBIAN + K3S + KUBELET)
def test_the_real_thing_is_protected_on_each_kind_of_node(some, expected):
    assert rule_of(some) == rule_of(some, DEFAULT) == expected


@pytest.mark.parametrize(
    "some",
    [
        process(comm="containerd", exe="/home/mallory/containerd", **unit("x")),
        process(comm="containerd", exe="/usr/bin/containerd", uid=1000, **unit("x")),
        process(comm="containerd", exe="/usr/bin/containerd", pod=PodRef("u", "burstable"), **IN_POD),
        process(comm="containerd", exe="/usr/bin/containerd", pod_unknown=True, **IN_POD),
        process(comm="containerd-shim-", exe="/usr/bin/su"),
        process(comm="kubectl", exe=f"{DATA}/k3s", cgroups={"": "/user.slice/s.scope"}),
        process(comm="node_exporter", exe="/usr/bin/node_exporter", uid=1000, cgroups={"": "/user.slice/s.scope"}),
        process(comm="node_exporter", exe="/home/m/node_exporter", uid=1000, **unit("node_exporter")),
        process(comm="sshd", exe="/usr/sbin/sshd", ancestors=(process(9, "sshd", exe="/usr/sbin/sshd"), INIT)),
        process(exe=PG, uid=1000, ancestors=(INIT,)),
        process(comm="sleep", pod=PodRef("u", "burstable", namespace="evil", container="cilium-agent"), **IN_POD),
        process(comm="sleep", pod=PodRef("u", "burstable", namespace="x-csi", container="ebs-plugin"), **IN_POD),
    ],
)
def test_what_only_calls_itself_so_is_under_no_rule(some):
    assert rule_of(some) is None


@pytest.mark.parametrize(
    ("uids", "evidence", "reason"),
    [
        ((1001, 0, 0), PROVEN, "user is not a fact: it was started by uid 1001"),
        ((0, 0, 0), Evidence("/x is writable by uid 1001", "", ""), "exe is not a fact: /x is writable by uid 1001"),
    ],
)
def test_what_looks_like_the_real_thing_by_claims_is_refused_with_the_reason(uids, evidence, reason):
    some = process(comm="containerd", exe="/usr/bin/containerd", uids=uids, evidence=evidence)
    decision = plan(some, BOOK, v2_host())
    assert (decision.changes, decision.adjusts) == ((), False)
    (refusal,) = decision.refusals
    assert (refusal.reason, reason in refusal.detail) == (Reason.CLAIM, True), refusal


def test_a_pods_labels_protect_where_the_operator_named_the_namespace_alone():
    labels = {"cnpg.io/cluster": "pg", "cnpg.io/podRole": "instance"}

    def postmaster(namespace):
        pod = PodRef("u", "burstable", "c", namespace=namespace, name="p", container="postgres", labels=labels)
        return process(pod=pod, oom_score_adj=985, **IN_POD)

    assert [rule_of(postmaster(namespace)) for namespace in ("db", "team-a")] == ["postgresql-cnpg", None]
    assert rule_of(postmaster("db"), DEFAULT) is None


def test_a_batch_job_dies_first_by_its_claim():
    assert rule_of(process(comm="sleep", evidence=Evidence(), cgroups={"": "/batch.slice/j"})) == "batch-first-to-die"


def test_a_postgres_worker_gets_what_children_get():
    leader = process(50, uid=26, exe=PG, cgroups={"": "/"}, oom_score_adj=-900, ancestors=())
    decision = plan(process(60, uid=26, exe=PG, oom_score_adj=-900, ancestors=(leader, INIT)), BOOK, v2_host())
    assert (decision.rule, decision.as_child, decision.changes[0].after) == ("postgresql", True, 0)


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
    off = builtin.with_builtin(PlacementConfig(builtin_rules=("all", "sidecars")))
    assert off == builtin.with_builtin(PlacementConfig(builtin_rules="all")), "it protects, and names no namespace"
    named = {"sidecars": ("team-a",)}
    with_one = builtin.with_builtin(PlacementConfig(builtin_rules=("all", "sidecars"), builtin_namespaces=named))
    assert with_one[0].name == "sidecars"
    assert with_one[1:] == builtin.with_builtin(PlacementConfig(builtin_rules="all"))
    for name in builtin.optional():
        assert builtin.text(name).startswith("# ")
        assert all(rule.reason and not rule.unkillable for rule in builtin.load(name))


EVERYTHING = compile_rules(
    builtin.with_builtin(
        PlacementConfig(
            dry_run=False,
            builtin_rules=builtin.known()[::-1],
            builtin_namespaces=dict.fromkeys(("sidecars", "cloudnative-pg"), ("team-a",)),
        )
    )
)
GROUP = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podu.slice/cri-containerd-c.scope"


def in_pod(container="main", labels=None, namespace="team-a", adj=985, **given):
    """A container's first process, as the kubelet starts it on cgroup v2 since 1.28."""
    pod = PodRef("u", "burstable", "c", namespace=namespace, name="p", container=container, labels=labels or {})
    return process(pod=pod, cgroups={"": GROUP}, oom_score_adj=adj, **given)


def changes_of(some):
    decision = plan(some, EVERYTHING, v2_host())
    return decision.rule, [(getattr(change, "file", change.field.value), change.after) for change in decision.changes]


CNPG = {"cnpg.io/cluster": "pg", "cnpg.io/instanceName": "pg-1", "cnpg.io/podRole": "instance", "role": "primary"}


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (in_pod(labels={"batch.kubernetes.io/job-name": "nightly"}), ("batch-pods", [("oom_score_adj", 1000)])),
        (in_pod(labels={"spark-role": "executor"}), ("batch-pods", [("oom_score_adj", 1000)])),
        (in_pod(labels={"spark-role": "driver"}), (None, [])),
        (in_pod(labels={"job-name": "x"}, namespace="kube-system"), (None, [])),
        (in_pod(labels={"job-name": "x"}, namespace="kube-system-2"), ("batch-pods", [("oom_score_adj", 1000)])),
        (in_pod("istio-proxy", adj=999), ("sidecars", [("oom_score_adj", 2)])),
        (in_pod("cloud-sql-proxy", adj=-997), ("sidecars", [])),
        (in_pod("istio-proxy", adj=999, namespace="team-b"), (None, [])),
        (in_pod("POD", labels={"batch.kubernetes.io/job-name": "nightly"}, adj=-998), (None, [])),
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
    assert changes_of(postmaster) == ("cloudnative-pg", [("oom_score_adj", -900), ("memory.oom.group", "0")])
    worker = in_pod("postgres", CNPG, pid=70, comm="postgres", adj=-900, ancestors=(postmaster, manager))
    assert changes_of(worker) == ("cloudnative-pg", [("oom_score_adj", 0)])
    assert changes_of(manager) == (None, [])


def test_none_of_them_makes_anything_unkillable_or_moves_it():
    assert not any(rule.unkillable or rule.cgroup or rule.in_place for rule in builtin.with_builtin(PlacementConfig()))


def test_the_operators_come_first_and_replace_by_name():
    (mine,) = rules({"name": "sshd", "match": {"comm": "dropbear"}}).rules
    config = PlacementConfig(rules=(mine.spec,), builtin_rules=("logins",))
    assert [(rule.name, rule.match.comm) for rule in builtin.with_builtin(config)] == [
        ("sshd", "dropbear"),
        ("console-login", ()),
    ]
    assert builtin.with_builtin(PlacementConfig(rules=(mine.spec,), builtin_rules="none")) == (mine.spec,)


def test_until_they_are_named_they_are_a_dry_run_whatever_the_plugin_says():
    preview = PlacementConfig(dry_run=False)
    assert {rule.dry_run for rule in builtin.with_builtin(preview)} == {True}
    named = PlacementConfig(dry_run=False, builtin_rules="all")
    assert {rule.dry_run for rule in builtin.with_builtin(named)} == {None}


def test_what_does_not_ship_is_refused_with_what_does():
    with pytest.raises(ConfigError, match='there are no built-in rules "nginx"; there are batch, '):
        builtin.load("nginx")


def test_a_shipped_rule_reads_as_a_rule_of_ones_own():
    (first, *_) = builtin.load("container-runtime")
    assert isinstance(first, Rule)
    assert first.oom_score_adj == OomScoreAdj(at_most=-999)
