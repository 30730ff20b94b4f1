"""Refusals of a cluster: Pod Security, a quota, a second release; and those of the daemon's own pod."""

from __future__ import annotations

import json

import pytest

from tests.cluster.conftest import QUICK
from tests.cluster.kit import becomes, pod
from tests.cluster.release import READINESS, Release, serves

ENFORCE = "pod-security.kubernetes.io/enforce"
#: What `restricted` refuses of the chart's pod, as the API server words it.
REASONS = (
    "host namespaces (hostPID=true)",
    'privileged (container "holdfast" must not set securityContext.privileged=true)',
    "allowPrivilegeEscalation != false",
    "unrestricted capabilities",
    "restricted volume types",
    "runAsNonRoot != true",
    "runAsUser=0",
    "seccompProfile",
)


@pytest.fixture
def second(namespace):
    """A release in the test's own namespace, not installed yet."""
    made = Release(namespace)
    yield made
    if made.installed():
        made.uninstall()


def enforce(namespace, level):
    namespace.cluster.kubectl("label", "namespace", namespace.name, f"{ENFORCE}={level}", "--overwrite")


def refusals(release):
    """Refusals that the DaemonSet's controller got when it created pods."""
    events = release.namespace.items("events", "--field-selector=reason=FailedCreate")
    return " ".join(one.get("message", "") for one in events)


def test_pod_security_refuses_the_pod_with_each_reason_and_the_readme_s_label_lets_it_in(uninstalled, second):
    enforce(second.namespace, "restricted")
    second.helm("install", second.name, second.chart, "--values=-", values=QUICK)
    becomes([], lambda: [reason for reason in REASONS if reason not in refusals(second)])
    assert second.daemons() == []
    enforce(second.namespace, "privileged")
    becomes(True, lambda: is_let_in(second))
    second.namespace.kubectl("rollout", "restart", "daemonset/holdfast")  # the controller tries again less and less
    second.rolled_out()
    assert serves(second.process(), READINESS)


def is_let_in(release):
    """Whether the API server, which learns of a label a little later, would take a pod as the chart's."""
    privileged = pod("like-the-chart-s", hostPID=True)
    look = ("create", "--dry-run=server", "--filename=-")
    where = f"--namespace={release.namespace.name}"
    return release.namespace.cluster.kubectl(where, *look, text=json.dumps(privileged), check=False).returncode == 0


def test_a_second_release_on_the_node_is_refused_and_the_first_goes_on(release, second):
    first = release.process()
    enforce(second.namespace, "privileged")
    second.helm("install", second.name, second.chart, "--values=-", values=QUICK)
    refusal = f"root: /var/lib/holdfast: in use by a running holdfast (pid {first})"
    becomes(True, lambda: any(refusal in said for said in logs(second)))
    assert second.namespace.get("daemonset/holdfast")["status"]["numberReady"] == 0
    assert (release.process(), serves(first, READINESS)) == (first, True)


def logs(release):
    """Return what every container of the daemons printed, the one before it included."""
    where = f"--namespace={release.namespace.name}"
    for one in release.daemons():
        for which in ("--previous=false", "--previous"):
            look = ("logs", one["metadata"]["name"], which)
            yield release.namespace.cluster.kubectl(where, *look, check=False).stdout


@pytest.fixture
def quota(home):
    """Puts a quota on the release's namespace."""

    def put(hard):
        home.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": hard}})
        becomes(hard, lambda: home.get("resourcequota/few").get("status", {}).get("hard"))

    yield put
    home.delete("resourcequota/few")


def test_the_pod_fits_a_quota_of_what_it_requests_and_a_limit_that_is_missing_is_told(release, quota, home):
    quota({"pods": "1", "requests.cpu": "10m", "requests.memory": "80Mi", "limits.memory": "256Mi"})
    release.upgrade({**QUICK, "podAnnotations": {"quota": "fits"}})  # another pod, and none beside it
    becomes("256Mi", lambda: home.get("resourcequota/few")["status"]["used"]["limits.memory"])
    quota({"limits.cpu": "1"})
    home.delete(f"pod/{release.daemon()}")
    becomes(True, lambda: "must specify limits.cpu for: holdfast" in refusals(release))
    release.upgrade({**QUICK, "resources": {"limits": {"cpu": "1", "memory": "256Mi"}}})
    assert release.status()[0]


def test_the_daemon_s_own_root_is_read_only(release, home):
    touch = ("exec", release.daemon(), "--", "touch")
    for path in ("/x", "/opt/holdfast/x", "/etc/holdfast/x"):
        assert "Read-only file system" in home.refusal(*touch, path)
    home.kubectl(*touch, "/run/holdfast/touched")


def test_the_network_policy_opens_the_ports_in_use_and_nothing_else(release, home):
    """Nothing here enforces it: what the API server took is compared."""
    (policy,) = [one["spec"] for one in home.items("networkpolicies")]
    (daemon,) = release.daemons()
    ports = {one["name"]: one["containerPort"] for one in daemon["spec"]["containers"][0]["ports"]}
    opened = {ports[port["port"]] for rule in policy["ingress"] for port in rule["ports"]}
    assert opened == set(ports.values()) == {7421, 9420}
    assert (set(policy["policyTypes"]), policy.get("egress", [])) == ({"Ingress", "Egress"}, [])
    assert policy["podSelector"]["matchLabels"].items() <= daemon["metadata"]["labels"].items()
