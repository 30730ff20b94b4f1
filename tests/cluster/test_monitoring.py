"""The Prometheus Operator's kinds take what the chart makes, and a real Prometheus fires its alerts.

The operator does not run here, its custom resource definitions do. What it makes of a PodMonitor and of rules is
written by the test: a scrape of the port that is named, with the labels that it names, and the rules.
"""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager

import pytest
import yaml

from tests.cluster.conftest import QUICK
from tests.cluster.kit import becomes, greedy, stopped
from tests.cluster.state import REPOSITORY
from tests.cluster.supervisor import within
from tests.needs import BIN, missing, path_of, peer

DEFINITIONS = BIN / "prometheus-operator"
KINDS = ("podmonitors", "servicemonitors", "prometheusrules")
URL = "http://127.0.0.1:9090"

pytestmark = peer("prometheus", "promtool", "curl")


@pytest.fixture
def operator(cluster):
    """The operator's custom resource definitions, for the test: what else is installed must do without."""
    if not DEFINITIONS.exists():
        missing(f"{DEFINITIONS} is not there (tests/peers/build)")
    files = [f"--filename={DEFINITIONS}/monitoring.coreos.com_{kind}.yaml" for kind in KINDS]
    cluster.kubectl("apply", "--server-side", *files)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *files)
    yield
    cluster.kubectl("delete", *files)


@pytest.fixture
def monitored(operator, release, home):
    """The chart with a monitor and its alerts; afterwards without, while their kinds are there."""
    release.upgrade({**QUICK, "metrics": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}})
    yield release
    release.upgrade(QUICK)


def test_the_operator_s_kinds_take_both_monitors_and_the_rules(monitored, home, tmp_path):
    rules = home.get("prometheusrule/holdfast")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    check = [path_of("promtool"), "check", "rules", tmp_path / "rules.yaml"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(home.items("podmonitors")) == 1
    monitored.upgrade({**QUICK, "metrics": {"serviceMonitor": {"enabled": True}}})
    assert (len(home.items("podmonitors")), len(home.items("servicemonitors"))) == (0, 1)
    (endpoint,) = home.get("servicemonitor/holdfast")["spec"]["endpoints"]
    (service,) = [one for one in home.items("services") if one["spec"]["clusterIP"] == "None"]
    assert endpoint["port"] in {one["name"] for one in service["spec"]["ports"]}


@pytest.mark.parametrize("overlay", ["monitored", "fleet"])
def test_the_operator_s_kinds_take_the_overlays_that_have_them(operator, uninstalled, cluster, overlay):
    path = REPOSITORY / "deploy" / "overlays" / overlay
    said = cluster.kubectl("apply", "--dry-run=server", "--kustomize", path).stdout.splitlines()
    for kind in ("podmonitor", "prometheusrule"):
        assert f"{kind}.monitoring.coreos.com/holdfast created (server dry run)" in said


def test_a_prometheus_fires_alerts_for_a_kill_and_for_a_daemon_that_hangs(monitored, home, namespace, tmp_path):
    with prometheus(monitored, home, tmp_path) as firing:
        becomes({"up"}, lambda: states(firing()))
        (victim,) = namespace.start(greedy("greedy"))
        # The metric has the pod's name where the runtime has reported the pod before the kill.
        name = f"{namespace.name}/greedy/main"
        becomes([True], lambda: [name in explained(monitored, pid) for pid in victim.processes()])
        victim.overfill()
        named = ("greedy", namespace.name)  # other kills on this machine are told, too
        becomes(True, lambda: named in pods_of(firing().get("HoldfastOomKill", [])))
        with stopped(monitored.process()):
            becomes({"HoldfastDown", "HoldfastEngineDown"}, lambda: states(firing()))
        becomes({"up"}, lambda: states(firing()))


def explained(release, pid):
    """Return what the daemon knows of a process; empty where it has ended."""
    where = (f"--namespace={release.namespace.name}", "exec", release.daemon(), "--container=holdfast", "--")
    return release.namespace.cluster.kubectl(*where, "holdfast", "explain", str(pid), check=False).stdout


def states(alerts):
    """Which of the alerts of a daemon that does not answer fire."""
    return alerts.keys() & {"HoldfastDown", "HoldfastEngineDown"} or {"up"}


def pods_of(alerts):
    return {(one.get("pod_name"), one.get("pod_namespace")) for one in alerts}


@contextmanager
def prometheus(release, home, folder):
    """A Prometheus in the cluster's network that scrapes often; a function that gives the firing alerts by name."""
    cluster = home.cluster
    (folder / "rules.yaml").write_text(yaml.safe_dump(at_once(home.get("prometheusrule/holdfast")["spec"])))
    (folder / "prometheus.yaml").write_text(json.dumps(scraping(release, home, folder)))
    command = [path_of("prometheus"), f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address={URL.partition('//')[2]}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(within(cluster.state, [*cluster.inside(), *command]), stdout=log, stderr=log)
    try:
        becomes(0, lambda: cluster.run(["curl", "--silent", "--fail", f"{URL}/-/ready"], check=False).returncode)
        becomes([1.0], lambda: values(cluster, "up"))
        yield lambda: firing(cluster)
    finally:
        process.terminate()
        process.wait(30)


def values(cluster, query):
    """Return the value of an expression."""
    ask = ["curl", "--silent", "--fail", "--get", "--data-urlencode", f"query={query}", f"{URL}/api/v1/query"]
    return [float(one["value"][1]) for one in json.loads(cluster.run(ask).stdout)["data"]["result"]]


def firing(cluster):
    answer = cluster.run(["curl", "--silent", "--fail", f"{URL}/api/v1/alerts"]).stdout
    found = {}
    for one in json.loads(answer)["data"]["alerts"]:
        if one["state"] == "firing":
            found.setdefault(one["labels"]["alertname"], []).append(one["labels"])
    return found


def at_once(rules):
    """The rules without their patience: no test waits for minutes here."""
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule.pop("for", None)
    return rules


def scraping(release, home, folder):
    """Return the scrape configuration that the operator would make of the PodMonitor."""
    monitor = home.get("podmonitor/holdfast")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    (relabeling,) = endpoint["relabelings"]
    assert relabeling == {
        "sourceLabels": ["__meta_kubernetes_pod_node_name"],
        "targetLabel": "node",
        "action": "replace",
    }
    (daemon,) = release.daemons()
    ports = {one["name"]: one["containerPort"] for one in daemon["spec"]["containers"][0]["ports"]}
    target = f"{daemon['status']['podIP']}:{ports[endpoint['port']]}"
    labels = {"job": daemon["metadata"]["labels"][monitor["jobLabel"]], "node": daemon["spec"]["nodeName"]}
    return {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": [f"{folder}/rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "holdfast",
                "metrics_path": endpoint["path"],
                "static_configs": [{"targets": [target], "labels": labels}],
            }
        ],
    }
