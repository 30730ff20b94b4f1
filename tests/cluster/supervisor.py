"""The process that has a cluster up: it makes the namespaces, starts the components and starts them again when they
end, as systemd would. When it gets SIGTERM, or the process that started it ends, it takes everything down.

A shim of the runtime becomes this process's child (it is a subreaper), so that the tests' own children stay theirs.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import control_plane, network, programs
from tests.cluster.certificate import Authority
from tests.cluster.cgroup_tree import CgroupTree
from tests.cluster.node import Node
from tests.cluster.state import State, node_names
from tests.needs import path_of

PR_SET_CHILD_SUBREAPER = 36
KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
DAEMONS = "daemons"
LOOK_S = 0.1
Command = list[str | Path]

#: Joins the cgroups named before `--`, and becomes the command behind it.
ENTER = 'while [ "$1" != -- ]; do echo $$ >"$1" || true; shift; done; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Component:
    """A program to keep running in the namespaces of another process."""

    name: str
    command: Command
    namespaces: str


@dataclass
class Supervisor:
    """Owns the processes of one cluster."""

    state: State
    count: int
    components: list[Component] = field(default_factory=list)

    @property
    def tree(self) -> CgroupTree:
        """The cluster's cgroups."""
        return CgroupTree(self.state.cgroup)

    @property
    def nodes(self) -> list[Node]:
        """The cluster's nodes."""
        return [Node(self.state, name) for name in node_names(self.count)]

    def up(self) -> None:
        """Make everything; what a killed run left is removed first."""
        self.down()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.state.make()
        self.state.record("supervisor", os.getpid())
        for name in KUBERNETES:
            (self.state.programs / name).symlink_to(path_of(programs.KUBERNETES))
        self.tree.make(DAEMONS, *(node.name for node in self.nodes))
        authority = Authority(self.state)
        authority.create()
        self._namespaces("control", "--net")
        self.script("control", network.control_script())
        for name, command in control_plane.commands(self.state).items():
            self._add(Component(name, command, "control"))
        for node in self.nodes:
            authority.create_for(node.name)
            node.write()
            self._namespaces(node.name, "--net", "--mount", "--propagation", "private")
            holder = self.state.pid(node.name)
            assert holder is not None
            self.script("control", network.node_link_script(node.name, holder))
            self.script(node.name, network.node_script(node.name) + node.mount_script())
            self._add(Component(f"{node.name}-containerd", node.containerd(), node.name))
            self._add(Component(f"{node.name}-kubelet", node.kubelet(), node.name))

    def down(self) -> None:
        """End every process, remove the cgroups and the folder; mounts and networks end with their namespaces."""
        self.tree.kill()
        self.tree.remove()
        shutil.rmtree(self.state.folder, ignore_errors=True)  # a mount of a namespace that ends just now may be in it
        for _ in range(50):
            if not self.state.folder.exists():
                break
            time.sleep(0.1)
            shutil.rmtree(self.state.folder, ignore_errors=True)

    def keep(self, ended: Callable[[], bool]) -> None:
        """Start again what ends, until the cluster is to end."""
        while not ended():
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            for component in self.components:
                if self.state.pid(component.name) is None and not self.state.paused(component.name).exists():
                    self._start(component)

    def script(self, namespaces: str, text: str) -> None:
        """Run a shell script in the namespaces of a recorded process."""
        command = [*self._enter(namespaces), "sh", "-euc", text]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
        if done.returncode:
            raise RuntimeError(f"{text}\n{done.stderr}")

    def _add(self, component: Component) -> None:
        self.components.append(component)
        self._start(component)

    def _start(self, component: Component) -> None:
        self._launch(component.name, [*self._enter(component.namespaces), *component.command])

    def _namespaces(self, name: str, *kinds: str) -> None:
        """Start a process that holds new namespaces."""
        self._launch(
            name, ["unshare", *kinds, "sh", "-c", f"echo >{self.state.folder}/run/{name}.made; exec sleep infinity"]
        )
        while not (self.state.folder / "run" / f"{name}.made").exists():
            assert self.state.pid(name) is not None, self.state.log_tail(name)
            time.sleep(0.005)

    def _launch(self, name: str, command: Command) -> None:
        with self.state.log(name).open("ab") as log:
            process = subprocess.Popen(
                within(self.state, command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=environment(),
            )
        process.returncode = 0  # its status is read by `keep`, not by Popen
        self.state.record(name, process.pid)

    def _enter(self, namespaces: str) -> Command:
        pid = self.state.pid(namespaces)
        assert pid is not None, self.state.log_tail(namespaces)
        kinds = ["--net"] if namespaces == "control" else ["--net", "--mount"]
        return [path_of("nsenter"), *kinds, f"--target={pid}", "--"]


def within(state: State, command: Command) -> Command:
    """The command of a process that joins the cluster's cgroups first, and so ends with the cluster at the latest."""
    return ["sh", "-c", ENTER, "sh", *CgroupTree(state.cgroup).entry(DAEMONS), "--", *command]


def environment() -> dict[str, str]:
    """The environment of the components: nothing of the shell that started them, and root's tools."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


def serve(state: State, count: int, until_eof: bool) -> None:
    """Have the cluster up until SIGTERM, or until standard input ends; print ``up`` when all components started."""
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, frame: told.append(got))

    def ended() -> bool:
        if not until_eof:
            time.sleep(LOOK_S)
            return bool(told)
        return bool(select.select([sys.stdin], [], [], LOOK_S)[0]) or bool(told)

    with state.locked():
        supervisor = Supervisor(state, count)
        try:
            supervisor.up()
            print("up", flush=True)  # noqa: T201
            supervisor.keep(ended)
        finally:
            supervisor.down()
            with suppress(ChildProcessError):  # a large process is a zombie for a while before its status can be read
                while os.waitpid(-1, 0):
                    pass
