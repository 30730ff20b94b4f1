"""The chart in the cluster: installed, changed and uninstalled by helm, and its daemons asked by their own client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from prometheus_client.parser import text_string_to_metric_families

from tests.chart.kit import CHART
from tests.cluster.kit import PATIENCE_S, Namespace, Object, Pod, becomes
from tests.cluster.programs import HELM
from tests.running import SLOW

DAEMONS = "--selector=app.kubernetes.io/component=daemon"
METRICS_PORT = 9420
HELM_S = 240 * SLOW
SOCKET = "/run/holdfast/holdfast.sock"
RELOADED = "holdfast_config_last_reload_success_timestamp_seconds"
Labels = frozenset[tuple[str, str]]
#: Health names that the chart's probes ask for.
LIVENESS, READINESS = "grpc.health.v1.Health", "holdfast.placement.v1.Placement"


def serves(pid: int, service: str) -> bool:
    """Whether a daemon says over its socket that it serves; needs neither the API server nor a kubelet."""
    with grpc.insecure_channel(f"unix:/proc/{pid}/root{SOCKET}") as channel:
        answer = HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=PATIENCE_S)
        return bool(answer.status == HealthCheckResponse.SERVING)


@dataclass(frozen=True, slots=True)
class Release:
    """A release of the chart in a namespace of its own."""

    namespace: Namespace
    name: str = "holdfast"
    program: str = HELM
    chart: Path = CHART

    def install(self, values: Mapping[str, Any] | None = None, *words: str) -> None:
        """Install the chart and wait until every daemon is Ready.

        Helm 3 waits for all but as many as an update may make unavailable: on one node, for none.
        """
        self.helm("install", self.name, self.chart, "--values=-", *self._waiting(), *words, values=values)
        self.rolled_out()

    def installed(self) -> bool:
        """Whether the release exists."""
        return f"daemonset.apps/{self.name}" in self.namespace.kubectl("get", "daemonsets", "--output=name").split()

    def upgrade(self, values: Mapping[str, Any] | None = None, *words: str) -> None:
        """Upgrade to exactly these values (those of before are not kept), and wait until they are in force."""
        self._changing("upgrade", self.name, self.chart, "--values=-", "--reset-values", *words, values=values)

    def rollback(self, revision: int = 0) -> None:
        """Roll back to a revision, by default the one before, and wait until its configuration is in force."""
        self._changing("rollback", self.name, *([str(revision)] if revision else []))

    def uninstall(self) -> None:
        """Uninstall and wait until every object is gone."""
        self.helm("uninstall", self.name, *self._waiting())
        self.namespace.wait_gone(DAEMONS)

    def test(self) -> str:
        """Run ``helm test``; what it printed."""
        return self.helm("test", self.name, f"--timeout={HELM_S:.0f}s")

    def helm(self, verb: str, *words: str | Path, values: Mapping[str, Any] | None = None) -> str:
        """Run helm; its output. ``values`` is its standard input."""
        command: list[str | Path] = [self.program, verb, *words, f"--namespace={self.namespace.name}"]
        return self.namespace.cluster.run(command, text=json.dumps(values or {})).stdout

    def refusal(self, values: Mapping[str, Any]) -> str:
        """Return helm's error for an upgrade or installation with values that must be refused."""
        command: list[str | Path] = [self.program, "upgrade", "--install", self.name, self.chart, "--values=-"]
        command += [f"--namespace={self.namespace.name}"]
        done = self.namespace.cluster.run(command, text=json.dumps(values), check=False)
        assert done.returncode, f"not refused:\n{done.stdout}"
        return done.stderr

    def daemons(self) -> list[Object]:
        """The daemons' pods, by node."""
        found = self.namespace.items("pods", DAEMONS)
        return sorted(found, key=lambda one: str(one["spec"].get("nodeName")))

    def daemon(self, node: str = "node-1") -> str:
        """The name of the pod on a node."""
        (found,) = [one["metadata"]["name"] for one in self.daemons() if one["spec"].get("nodeName") == node]
        return str(found)

    def status(self) -> tuple[bool, int]:
        """Whether the daemon's container on the one node is Ready, and how often it was started again."""
        (one,) = self.daemons()[0]["status"]["containerStatuses"]
        return bool(one["ready"]), int(one["restartCount"])

    def replace(self) -> None:
        """Delete the daemon's pod on the one node, and wait until another pod is Ready in its place.

        Not by force: the next daemon would meet this one's sockets, end, and be started again.
        """
        (before,) = self.daemons()
        self.namespace.kubectl("delete", f"pod/{before['metadata']['name']}")
        self.replaced(before)

    def replaced(self, before: Object, look: Callable[[], object] = lambda: None) -> None:
        """Wait until another pod than this one is there alone, and Ready; ``look`` is called meanwhile."""

        def others() -> list[bool]:
            look()
            return [one["metadata"]["uid"] != before["metadata"]["uid"] and is_ready(one) for one in self.daemons()]

        becomes([True], others)

    def rolled_out(self) -> None:
        """Wait until the daemons of the newest template are available.

        What has just been deleted may still be counted: `replace` waits for the pod itself.
        """
        self.namespace.kubectl("rollout", "status", f"daemonset/{self.name}", f"--timeout={PATIENCE_S:.0f}s")

    def rows(self, pod: Pod) -> list[str]:
        """The lines of ``holdfast ps`` with processes of a pod.

        A daemon is Ready before the runtime has reported the pods to it: a new one has no such line at first.
        """
        name = f" {pod.namespace.name}/{pod.name}/"
        return [row for row in self.holdfast("ps").splitlines() if name in row]

    def holdfast(self, *words: str, node: str = "node-1") -> str:
        """Run ``holdfast …`` in the daemon's pod on a node; its output."""
        return self.namespace.kubectl("exec", self.daemon(node), "--container=holdfast", "--", "holdfast", *words)

    def ask(self, *words: str, node: str = "node-1") -> Any:
        """Run ``holdfast … --output json`` in the daemon's pod; its output as JSON values."""
        return json.loads(self.holdfast(*words, "--output=json", node=node))

    def logs(self, node: str = "node-1") -> str:
        """Return the log of the daemon on a node."""
        return self.namespace.kubectl("logs", self.daemon(node), "--container=holdfast")

    def metrics(self, node: str = "node-1", name: str = "") -> dict[str, dict[Labels, float]]:
        """Scrape a daemon through the API server: sample name → labels → value."""
        pod = name or self.daemon(node)
        path = f"/api/v1/namespaces/{self.namespace.name}/pods/{pod}:{METRICS_PORT}/proxy/metrics"
        found: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(self.namespace.kubectl("get", "--raw", path)):
            for sample in family.samples:
                found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return found

    def metric(self, name: str, node: str = "node-1", **labels: str) -> float:
        """The sum of the samples of this name that have these labels; 0 where there is none."""
        samples = self.metrics(node).get(name, {})
        return sum(value for have, value in samples.items() if labels.items() <= dict(have).items())

    def process(self, node: str = "node-1") -> int:
        """The pid of the daemon on a node."""
        (pid,) = self.namespace.pod(self.daemon(node)).processes("holdfast")
        return pid

    def touch(self) -> None:
        """Have the kubelets read the daemons' pods, and so their ConfigMap, at once."""
        self.namespace.kubectl("annotate", "pods", DAEMONS, f"touched={time.time_ns()}", "--overwrite")

    def _changing(self, *words: str | Path, values: Mapping[str, Any] | None = None) -> None:
        """Change the release; wait for new pods, or for the running daemons to have read the new configuration."""
        before = self._config()
        reloaded = {name: self._reloaded(name) for name in self._names()}
        verb, *more = map(str, words)
        self.helm(verb, *more, *self._waiting(), values=values)
        self.rolled_out()
        if self._config() == before:
            return
        self.touch()
        for name in set(self._names()) & reloaded.keys():
            becomes(True, partial(self._is_later, name, reloaded[name]))

    def _names(self) -> list[str]:
        return [str(one["metadata"]["name"]) for one in self.daemons()]

    def _reloaded(self, name: str) -> float:
        return sum(self.metrics(name=name).get(RELOADED, {}).values())

    def _is_later(self, name: str, since: float) -> bool:
        return self._reloaded(name) > since

    def _config(self) -> str:
        """The configuration that the pods mount, and whose it is."""
        volumes = self.namespace.get(f"daemonset/{self.name}")["spec"]["template"]["spec"]["volumes"]
        (name,) = [one["configMap"]["name"] for one in volumes if one["name"] == "config"]
        return name + str(self.namespace.get(f"configmap/{name}")["data"])

    def _waiting(self) -> list[str]:
        return ["--wait", f"--timeout={HELM_S:.0f}s"]


def is_ready(daemon: Object) -> bool:
    """Whether a pod is Ready."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in daemon["status"].get("conditions", []))
