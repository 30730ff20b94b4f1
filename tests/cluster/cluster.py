"""A cluster as its users see it: started, ready, with images; programs run in its network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cgroup_tree, images
from tests.cluster.node import CONTAINERD, Node
from tests.cluster.state import REPOSITORY, State, node_names
from tests.cluster.supervisor import Supervisor
from tests.needs import BIN, path_of
from tests.running import SLOW

READY_S = 240.0 * SLOW  # an idle machine needs 8
ENDS_S = 3 * cgroup_tree.ENDS_S  # its processes, its groups, its folder
RUN_S = 300.0 * SLOW
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that a supervisor has up."""

    state: State
    count: int = 1

    @property
    def nodes(self) -> list[Node]:
        """Its nodes."""
        return [Node(self.state, name) for name in node_names(self.count)]

    def start(self, until_eof: bool = False) -> subprocess.Popen[bytes]:
        """Start the supervisor in a session of its own, and wait until it has started every component.

        ``until_eof``: the cluster ends when the returned process's standard input is closed, by us or by our death.
        """
        command = [sys.executable, "-m", "tests.cluster", "serve", self.state.folder.name, str(self.count)]
        log = self.state.folder.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, *(["--until-eof"] if until_eof else [])],
                stdin=subprocess.PIPE if until_eof else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=REPOSITORY,
                start_new_session=True,
            )
        assert process.stdout is not None
        with process.stdout:
            if process.stdout.readline() != b"up\n":
                raise RuntimeError(log.read_text())
        return process

    def restart(self, component: str) -> None:
        """Kill a component (``kube-apiserver``, ``node-1-containerd``); the supervisor starts it again."""
        with self.without(component):
            pass

    @contextmanager
    def without(self, component: str) -> Iterator[None]:
        """The component does not run within the block. Afterwards its process is there again, perhaps not yet ready."""
        pause = self.state.paused(component)
        pause.touch()
        try:
            pid = self.state.pid(component)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            until(lambda: self.state.pid(component) is None, lambda: f"{component} does not end")
            yield
        finally:
            pause.unlink()
        until(lambda: self.state.pid(component) is not None, lambda: self.state.log_tail(component))

    def wait_ready(self) -> None:
        """Wait until the API server answers and every node is Ready."""
        until(lambda: self.kubectl("get", "--raw", "/readyz", check=False).returncode == 0, self._api_failure)
        # kubectl asks for a group's schema first, and without it for that of all groups, which takes minutes to make
        # where the processor is emulated. The server has it later than it is ready.
        schema = ("get", "--raw", "/openapi/v3/api/v1")
        until(lambda: self.kubectl(*schema, check=False).returncode == 0, self._api_failure)
        # A pod is refused before the controllers have made its namespace's service account.
        account = ("--namespace=default", "get", "serviceaccount", "default")
        until(lambda: self.kubectl(*account, check=False).returncode == 0, self._api_failure)
        ready = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
        look = ("get", "nodes", "--output", ready)
        until(lambda: self.kubectl(*look, check=False).stdout.split() == ["True"] * self.count, self._node_failure)

    def load_images(self) -> None:
        """Import the images into every node; holdfast's as the chart's own default, and with the tag ``e2e``."""
        archives = images.archives()  # made already while the node starts
        for node in self.nodes:
            importing = [self._start_import(node, path) for path in archives]
            for process in importing:
                _, err = process.communicate()
                assert process.returncode == 0, err.decode()
            built = f"{images.HOLDFAST}:test"
            for tag in (app_version(), "e2e"):
                self.ctr(node, "images", "tag", "--force", built, f"{images.HOLDFAST}:{tag}")

    def _start_import(self, node: Node, archive: Path) -> subprocess.Popen[bytes]:
        command = self._ctr(node, "images", "import", archive)
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def ctr(self, node: Node, *words: str | Path) -> str:
        """Run ctr in the namespace of Kubernetes' containers."""
        return subprocess.run(self._ctr(node, *words), capture_output=True, text=True, check=True).stdout

    def _ctr(self, node: Node, *words: str | Path) -> list[str | Path]:
        ctr = [path_of("ctr"), "--address", CONTAINERD, "--namespace", "k8s.io"]
        return [*self.inside(node), *ctr, *words]

    def inside(self, node: Node | None = None) -> list[str | Path]:
        """The words before a command that runs it in the network of the control plane, or on a node."""
        holder = node.name if node else "control"
        pid = self.state.pid(holder)
        assert pid is not None, f"no cluster: {self.state.log_tail(holder)}"
        kinds = ["--net", "--mount"] if node else ["--net"]
        return [path_of("nsenter"), *kinds, f"--target={pid}", f"--wd={REPOSITORY}" if not node else "--wd=/", "--"]

    def environment(self) -> dict[str, str]:
        """For kubectl and helm: the kubeconfig, where the programs are, and a home that ends with the cluster."""
        path = f"{self.state.programs}:{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        home = self.state.folder / "home"
        helm = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return {"KUBECONFIG": str(self.state.kubeconfig), "KUBECACHEDIR": str(home / "kube"), "PATH": path, **helm}

    def run(
        self, command: Sequence[str | Path], *, text: str = "", check: bool = True, timeout_s: float = RUN_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the cluster's network, with the kubeconfig; ``text`` is its standard input."""
        done = subprocess.run(
            [*self.inside(), "env", *(f"{key}={value}" for key, value in self.environment().items()), *command],
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        words = " ".join(map(str, command))
        assert done.returncode == 0 or not check, f"$ {words}\n{done.stdout[-5000:]}{done.stderr[-5000:]}"
        return done

    def kubectl(self, *words: str | Path, text: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator."""
        return self.run(["kubectl", *words], text=text, check=check)

    def _api_failure(self) -> str:
        return self.state.log_tail("kube-apiserver") + self.state.log_tail("etcd")

    def _node_failure(self) -> str:
        return "\n".join(
            self.state.log_tail(f"{node.name}-{one}") for node in self.nodes for one in ("containerd", "kubelet")
        )


@contextmanager
def running(name: str, count: int = 1) -> Iterator[Cluster]:
    """A cluster of so many nodes, Ready, with the images. It ends with the block, and with this process."""
    made = Cluster(State.of(name), count)
    supervisor = made.start(until_eof=True)
    assert supervisor.stdin is not None
    try:
        images.archives()  # meanwhile
        made.wait_ready()
        made.load_images()
        yield made
    finally:
        supervisor.stdin.close()
        supervisor.wait(ENDS_S)


def stop(state: State) -> None:
    """End a cluster and remove what a killed run left; nothing to do is no error."""
    pid = state.pid("supervisor")
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
    with state.locked():
        Supervisor(state, 0).down()


def app_version() -> str:
    """The tag that the chart uses by default."""
    lines = (REPOSITORY / "helm" / "holdfast" / "Chart.yaml").read_text().splitlines()
    return next(line.partition(":")[2].strip().strip('"') for line in lines if line.startswith("appVersion:"))


def until(look: Callable[[], bool], failure: Callable[[], str], within_s: float = READY_S) -> None:
    """Look until it is so; each look is a round trip."""
    deadline = time.monotonic() + within_s
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError(failure())
        time.sleep(LOOK_S)
