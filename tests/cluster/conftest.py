"""One node for the session, a namespace for each test, and the chart's release.

Tests in this folder are scenarios on a real Kubernetes node: they need root and the programs below, and carry the marks
without saying so.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests import needs
from tests.cluster import programs
from tests.cluster.cluster import ENDS_S, READY_S, Cluster, running
from tests.cluster.kit import Namespace
from tests.cluster.release import Release
from tests.image.build import BUILD_S
from tests.running import SLOW

PROGRAMS = (
    programs.KUBERNETES,
    "etcd",
    "containerd23/containerd",
    "containerd23/containerd-shim-runc-v2",
    "pause",
    programs.HELM,
    "ctr",
    "runc",
    "busybox",
    "buildah",
    "mmdebstrap",
    "openssl",
    "ip",
    "iptables",
    "nsenter",
    "/usr/lib/cni/bridge",
)
TIMEOUT_S = 600 * SLOW  # the longest scenario takes a tenth of it on an idle machine
FIRST_S = 3 * BUILD_S * SLOW + READY_S  # more for the first one: base and image are built and pushed, the node starts
#: Values for a release that is changed often: nothing waits for a period to pass. Where this process may not look at
#: the machine's process 1, the daemon gets no process events from the kernel, and rescans find the processes.
QUICK = {
    "minReadySeconds": 0,
    "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
    "probes": {"startup": {"spec": {"periodSeconds": 1}}, "readiness": {"spec": {"periodSeconds": 1}}},
    "config": {"plugins": {"io.holdfast.placement.v1.rules": {"rescan": "1s"}}},
}
NAMES = itertools.count(1)
USERS = pytest.StashKey[list[pytest.Item]]()
NODE = pytest.StashKey[ExitStack]()


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(needs.peer(*PROGRAMS))
    item.add_marker(pytest.mark.root)
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test's time is for its fixtures too: the first that uses the node has it made, the last has it ended."""
    here = Path(__file__).parent
    users = [item for item in items if item.path.parent == here and "cluster" in getattr(item, "fixturenames", ())]
    config.stash[USERS] = users
    for item, more_s in ((users[0], FIRST_S), (users[-1], ENDS_S)) if users else ():
        mark = item.get_closest_marker("timeout")
        assert mark is not None
        item.add_marker(pytest.mark.timeout(mark.args[0] + more_s), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """End the node after the last test that uses it: thousands of others follow, and would run beside it."""
    try:
        return (yield)
    finally:
        if item in item.config.stash[USERS][-1:] and NODE in item.config.stash:
            item.config.stash[NODE].close()


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """One node, Ready, with the images. It ends with this process, however that ends."""
    with ExitStack() as stack:
        pytestconfig.stash[NODE] = stack
        yield stack.enter_context(running("test"))


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace of the test's own, named after it."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    made = Namespace(cluster, f"{words[:40].strip('-')}-{next(NAMES)}")
    made.create()
    yield made
    made.drop()


@pytest.fixture(scope="session")
def home(cluster: Cluster) -> Namespace:
    """The namespace of the release, as the chart's README makes it."""
    made = Namespace(cluster, "holdfast")
    made.create({"pod-security.kubernetes.io/enforce": "privileged"})
    return made


@pytest.fixture
def release(home: Namespace) -> Release:
    """The chart, installed; `Release.upgrade` gives it the scenario's values. What a test before left is in force."""
    made = Release(home)
    if not made.installed():
        made.install(QUICK)
    return made


@pytest.fixture
def uninstalled(home: Namespace) -> Release:
    """The chart, not installed."""
    made = Release(home)
    if made.installed():
        made.uninstall()
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed scenario reports what the cluster and the daemons say."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(cluster, Cluster):  # type: ignore[attr-defined]
        with suppress(Exception):
            report.sections.append(("cluster", cluster_says(cluster)))  # type: ignore[attr-defined]
    return report


def cluster_says(cluster: Cluster) -> str:
    """Pods, events, the daemons' logs, the end of the kubelet's."""
    looks = (
        ["get", "pods", "--all-namespaces", "--output=wide"],
        ["get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"],
        ["logs", "--namespace=holdfast", "--selector=app.kubernetes.io/component=daemon", "--tail=60"],
    )
    said = [f"$ kubectl {' '.join(words)}\n{cluster.kubectl(*words, check=False).stdout[-6000:]}" for words in looks]
    return "\n".join([*said, *(cluster.state.log_tail(f"{node.name}-kubelet") for node in cluster.nodes)])
