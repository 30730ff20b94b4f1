"""Every kind of pod: init and sidecar containers, static pods, pods of the node's PID namespace, Jobs, priorities; and
what a pod may ask for by annotation, as `preview`, `victims`, `top` and `explain` show it.
"""

from __future__ import annotations

import json

import pytest

from tests.cluster.conftest import QUICK
from tests.cluster.kit import adj, becomes, container, pod

PLACEMENT = "io.holdfast.placement.v1.rules"
PRINT = ["sh", "-c", "read value </proc/self/oom_score_adj; echo first=$value"]
PRINT_AND_STAY = [*PRINT[:2], PRINT[2] + "; exec sleep infinity"]


def a_rule(name, value, **match):
    return {
        "name": name,
        "reason": "a scenario of tests/cluster",
        "match": {"pod": match},
        "oom_score_adj": value,
        "trust_claims": True,
    }


@pytest.fixture
def pauses(release, namespace):
    """The pause container of a pod that no rule matches: what the runtime gives all of them."""
    (bystander,) = namespace.start(pod("bystander"))
    (pid,) = bystander.pause()
    return adj(pid)


def test_init_and_sidecar_containers_have_their_rules_values_from_their_first_instruction(release, namespace):
    where = {"namespace": namespace.name}
    rules = [
        a_rule("init", 610, **where, container="init"),
        a_rule("sidecar", 620, **where, container="sidecar"),
        a_rule("main", 630, **where, container="main"),
    ]
    release.upgrade({**QUICK, "dryRun": False, "rules": rules, "pods": {"nri": {"enabled": True}}})
    becomes(1.0, lambda: release.metric("holdfast_nri_connected"))
    before_main = [
        container("sidecar", command=PRINT_AND_STAY, restartPolicy="Always"),
        container("init", command=PRINT),
    ]
    (started,) = namespace.start(pod("whole", command=PRINT_AND_STAY, initContainers=before_main))
    printed = {name: started.printed(name) for name in ("init", "sidecar", "main")}
    assert printed == {"init": "first=610\n", "sidecar": "first=620\n", "main": "first=630\n"}
    assert (started.values("sidecar"), started.values("main")) == ({620}, {630})


def test_static_pods_pods_of_the_node_s_pids_and_pods_with_a_priority_are_pods_like_others(release, namespace):
    release.upgrade({**QUICK, "dryRun": False, "rules": [a_rule("all", 640, namespace=namespace.name)]})
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "urgent"}}
    namespace.cluster.kubectl("apply", "--filename=-", text=json.dumps({**priority, "value": 1000}))
    static = pod("static")
    static["metadata"]["namespace"] = namespace.name
    (node,) = namespace.cluster.nodes
    manifest = node.manifests / f"{namespace.name}.json"
    manifest.write_text(json.dumps(static))
    try:
        others = namespace.start(pod("node-pids", hostPID=True), pod("urgent", priorityClassName="urgent"))
        becomes([{640}] * 2, lambda: [one.values() for one in others])
        mirror = f"static-{node.name}"
        becomes("true", lambda: ready(namespace, mirror))
        becomes({640}, namespace.pod(mirror).values)
        (pid,) = namespace.pod(mirror).processes()
        assert f"{namespace.name}/{mirror}/main" in release.holdfast("explain", str(pid))
    finally:
        manifest.unlink()
    namespace.wait_gone(f"--field-selector=metadata.name={mirror}")


def ready(namespace, name):
    path = "jsonpath={.items[*].status.containerStatuses[*].ready}"
    return namespace.kubectl("get", "pods", f"--field-selector=metadata.name={name}", f"--output={path}")


def test_the_built_in_rule_for_batch_pods_takes_a_job_and_leaves_its_pause_container(release, namespace, pauses):
    release.upgrade({**QUICK, "dryRun": False, "builtinRules": ["batch-pods"]})
    memory = {"memory": "256Mi"}  # Burstable: the kubelet gives less than 1000
    template = pod("", containers=[container("main", requests=memory)], restartPolicy="Never")
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}}
    namespace.apply({**job, "spec": {"template": {"metadata": {}, "spec": template["spec"]}}})
    (service,) = namespace.start(pod("service", requests=memory))
    becomes("1", lambda: namespace.kubectl("get", "job/work", "--output=jsonpath={.status.ready}"))
    (worker,) = [namespace.pod(one["metadata"]["name"]) for one in namespace.items("pods", "--selector=job-name=work")]
    becomes({1000}, worker.values)
    (given,) = service.values()
    assert 3 <= given < 1000
    (pause,) = worker.pause()
    assert adj(pause) == pauses
    (pid,) = worker.processes()
    assert "yes  batch-pods" in release.holdfast("explain", str(pid))
    assert "yes" not in release.holdfast("explain", str(pause)).partition("decision")[0]


@pytest.fixture
def admitted(release, namespace):
    """Pods that ask for a value; those of this namespace may have 300 to 1000, except where a rule gives another."""
    admission = [{"namespaces": namespace.name, "oom_score_adj": {"min": 300, "max": 1000}}]
    rules = [
        {**a_rule("yields", 810, namespace=namespace.name, labels="kind=yields"), "yields_to_annotations": True},
        a_rule("decides", 820, namespace=namespace.name, labels="kind=decides"),
    ]
    plugins = {PLACEMENT: {"rescan": "1s", "annotations": admission}}
    events = {"kubernetesEvents": {"enabled": True}}
    release.upgrade({**QUICK, "dryRun": False, "rules": rules, "pods": events, "config": {"plugins": plugins}})
    asks = {"holdfast.dev/oom-score-adj": "400"}
    started = namespace.start(
        pod("asks", annotations=asks),
        pod("asks-too-little", annotations={"holdfast.dev/oom-score-adj": "10"}),
        pod("yields", annotations=asks, labels={"kind": "yields"}),
        pod("silent", labels={"kind": "yields"}),
        pod("decides", annotations=asks, labels={"kind": "decides"}),
        pod("one", annotations={"holdfast.dev/oom-score-adj.second": "500"}, containers=TWO),
    )
    return {one.name: one for one in started}


TWO = [container("first"), container("second")]


def test_a_pod_gets_what_it_asks_for_where_it_may_and_the_refusal_is_told(release, admitted, namespace):
    wanted = {"asks": 400, "asks-too-little": 1000, "yields": 400, "silent": 810, "decides": 820}
    becomes({name: {value} for name, value in wanted.items()}, lambda: {n: admitted[n].values() for n in wanted})
    becomes(({1000}, {500}), lambda: (admitted["one"].values("first"), admitted["one"].values("second")))
    becomes(1.0, lambda: release.metric("holdfast_placement_annotations_refused_total", key="oom-score-adj"))
    (pid,) = admitted["asks-too-little"].processes()
    assert "asks for holdfast.dev/oom-score-adj: 10, which is refused" in release.holdfast("explain", str(pid))
    becomes(True, lambda: "AnnotationRefused" in namespace.kubectl("describe", "pod/asks-too-little"))


def test_preview_victims_and_top_know_an_annotated_pod(release, admitted, namespace):
    asking = admitted["asks"]
    becomes({400}, asking.values)
    (pid,) = asking.processes()
    name = f"{namespace.name}/asks/main"
    becomes(
        [[str(pid), "sleep", "annotation", "held", "400"]], lambda: [row.split()[:5] for row in release.rows(asking)]
    )
    later = "holdfast.dev/oom-score-adj: 400"
    assert later in release.holdfast("explain", str(pid))
    becomes(True, lambda: " 0 changes" in release.holdfast("preview").splitlines()[-1])  # the other pods' too
    victims = release.ask("victims", "--limit=5000")
    assert (pid, 400, name) in candidates(victims["rankings"])
    assert name.rpartition("/")[0] in release.holdfast("top", "--once")


def candidates(rankings):
    """Pid, value and pod of the processes that may be killed on the node."""
    (node,) = [one for one in rankings if one["domain"] == "/"]
    pods = [one for one in node["now"]["candidates"] if "pod" in one]
    return {(one["pid"], one["oom_score_adj"], "/".join(one["pod"][k] for k in KEYS)) for one in pods}


KEYS = ("namespace", "name", "container")
