"""The built-in rules on three kinds of nodes: programs at the paths, names, users, units and pods they have there.

The units are started by systemd. Of a Debian node the daemons are Debian's own, in the units of their packages; of the
others sleep(1) stands for the programs.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from holdfast.cgroups import groups_of
from holdfast.node.model.placement import State
from holdfast.node.rule.builtin import load, names, with_builtin
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import PlacementConfig
from holdfast.pods.directory import Directory
from holdfast.pods.record import ContainerRecord, PodRecord

from tests.hostile.test_claims import comes_to_run
from tests.integration.node_kit import adj_of
from tests.needs import peer, systemd
from tests.running import PATIENCE_S, until

pytestmark = [systemd, pytest.mark.timeout(300)]

DATA = "/var/lib/rancher/k3s/data/5a1c2e/bin"
NAMESPACES = {"node-exporter": ("monitoring",), "postgresql": ("databases",)}
PROGRAM_AND_USER = ("match.exe", "match.user")
PROGRAM_AND_UNIT = ("match.exe", "match.cgroup")
ALL_THREE = ("match.exe", "match.user", "match.cgroup")
NAMESPACE = ("match.pod.namespace",)
GROUNDS = {*ALL_THREE, *NAMESPACE}
LOWERED = ()  # what only lowers a process's standing may go by claims


class Daemon(NamedTuple):
    """A process of a node: its program, what it is called, its user, its unit, its rule, and the facts of that."""

    program: str
    unit: str
    rule: str | None
    value: int
    facts: tuple[str, ...] = LOWERED
    name: str = ""
    user: str = "root"

    @property
    def comm(self) -> str:
        return (self.name or os.path.basename(self.program))[:15]


class Container(NamedTuple):
    """A process in a pod."""

    namespace: str
    name: str
    comm: str
    rule: str
    value: int
    labels: tuple[tuple[str, str], ...] = ()


DEBIAN = [
    Daemon("/usr/bin/containerd", "containerd.service", "container-runtime", -999, PROGRAM_AND_USER),
    Daemon("/usr/sbin/dockerd", "docker.service", "container-runtime", -999, PROGRAM_AND_USER),
    Daemon("/usr/bin/containerd-shim-runc-v2", "containerd.service", "container-shim", -998, PROGRAM_AND_USER),
    Daemon("/usr/sbin/sshd", "ssh.service", "sshd", -900, ALL_THREE),
    Daemon("/usr/sbin/agetty", "getty@tty1.service", "console-login", -900, PROGRAM_AND_USER),
    Daemon("/usr/lib/systemd/systemd-logind", "systemd-logind.service", "console-login", -900, PROGRAM_AND_USER),
    Daemon(
        "/usr/bin/prometheus-node-exporter",
        "prometheus-node-exporter.service",
        "node-exporter",
        -500,
        PROGRAM_AND_UNIT,
        user="prometheus",
    ),
    Daemon(
        "/usr/lib/postgresql/16/bin/postgres",
        "postgresql@16-main.service",
        "postgresql",
        -900,
        ALL_THREE,
        user="postgres",
    ),
    Daemon("/usr/bin/mandb", "man-db.service", "indexers", 800),
    Daemon("/usr/bin/backup", "batch-nightly.service", "batch-first-to-die", 800),
]
K3S = [
    Daemon(f"{DATA}/k3s", "k3s.service", "k3s", -999, ALL_THREE, name="k3s-server"),
    Daemon(f"{DATA}/k3s", "k3s.service", "k3s", -999, ALL_THREE, name="containerd"),
    Daemon(f"{DATA}/containerd-shim-runc-v2", "k3s.service", "container-shim", -998, PROGRAM_AND_USER),
    Daemon(f"{DATA}/k3s", "k3s-kubectl.service", None, 0, name="kubectl"),
    Daemon("/usr/local/bin/k3s", "k3s-agent.service", "k3s", -999, ALL_THREE, name="k3s-agent"),
    Daemon("/usr/sbin/sshd", "ssh.service", "sshd", -900, ALL_THREE),
    Container("kube-system", "node-cache", "node-cache", "node-local-dns", -997),
    Container("monitoring", "node-exporter", "node_exporter", "node-exporter-pod", -500),
]
KUBELET = [
    Daemon("/usr/bin/kubelet", "kubelet.service", "kubelet", -999, PROGRAM_AND_USER),
    Daemon("/usr/bin/crio", "crio.service", "container-runtime", -999, PROGRAM_AND_USER),
    Daemon("/usr/local/bin/containerd", "containerd.service", "container-runtime", -999, PROGRAM_AND_USER),
    Daemon("/usr/local/bin/containerd-shim-runc-v2", "containerd.service", "container-shim", -998, PROGRAM_AND_USER),
    Daemon("/usr/bin/conmon", f"crio-conmon-{64 * 'c'}.service", "container-shim", -998, PROGRAM_AND_USER),
    Container("kube-system", "kube-proxy", "kube-proxy", "kube-proxy", -999),
    Container("kube-system", "calico-node", "calico-node", "cni", -997),
    Container("kube-system", "node-driver-registrar", "csi-node-driver", "csi-node", -997),
    Container("kube-system", "node-cache", "node-cache", "node-local-dns", -997),
    Container("monitoring", "node-exporter", "node_exporter", "node-exporter-pod", -500),
    Container(
        "databases",
        "postgres",
        "postgres",
        "postgresql-cnpg",
        -900,
        (("cnpg.io/cluster", "main"), ("cnpg.io/podRole", "instance")),
    ),
]
NODES = {"debian": DEBIAN, "k3s": K3S, "kubelet": KUBELET}
#: Debian's own, in the units of its packages.
PACKAGED = [
    Daemon("/usr/bin/containerd", "containerd.service", "container-runtime", -999, PROGRAM_AND_USER),
    Daemon("/usr/sbin/sshd", "ssh.service", "sshd", -900, ALL_THREE),
    Daemon("/usr/sbin/agetty", "getty@tty1.service", "console-login", -900, PROGRAM_AND_USER),
    Daemon(
        "/usr/bin/prometheus-node-exporter",
        "prometheus-node-exporter.service",
        "node-exporter",
        -500,
        PROGRAM_AND_UNIT,
    ),
]


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"systemctl {words}: {done.stderr}"
    return done.stdout


@pytest.fixture
def placed():
    """Puts sleep(1) at a path, under a name beside it where the name is another; what was there comes back."""
    made, kept = [], []

    def put(path: str, name: str) -> str:
        program = Path(path)
        if program not in made:
            program.parent.mkdir(parents=True, exist_ok=True)
            if program.exists():
                kept.append((program, program.rename(f"{program}.kept")))
            shutil.copy(shutil.which("sleep"), program)
            program.chmod(0o755)
            made.append(program)
        if not name or name == program.name:
            return path
        link = program.with_name(name)
        if not link.is_symlink():
            link.symlink_to(program)
            made.append(link)
        return str(link)

    yield put
    for some in made:
        some.unlink()
    for program, aside in kept:
        aside.rename(program)


@pytest.fixture
def units():
    """Starts systemd's units, each with some programs of one user; those of packages are put aside meanwhile."""
    started: list[str] = []
    files: list[Path] = []

    def start(wanted: dict[str, tuple[str, list[str]]]) -> None:
        for unit, (user, programs) in wanted.items():
            path = Path("/run/systemd/system", unit)
            slice_ = "Slice=batch.slice\n" if unit.startswith("batch-") else ""
            script = " & ".join(f"{program} 600" for program in programs)
            path.write_text(
                f"[Service]\nUser={user}\nOOMScoreAdjust=0\n{slice_}ExecStart=/bin/sh -c '{script} & wait'\n"
            )
            files.append(path)
            started.append(unit)
        systemctl("daemon-reload")
        systemctl("start", *wanted)

    yield start
    systemctl("stop", *started)
    for path in files:
        path.unlink()
    systemctl("daemon-reload")


@pytest.fixture
def pods():
    """Starts processes in pods, in the groups that the kubelet makes with systemd; `told` has what a runtime says."""
    told = Directory()
    scopes: list[tuple[str, subprocess.Popen[bytes]]] = []
    programs: list[Path] = []

    def start(container: Container) -> int:
        number = len(scopes)
        uid, pod, app = f"11111111-2222-3333-4444-{number:012}", f"{number:064}", f"{number + 1000:064}"
        slice_ = f"kubepods-burstable-pod{uid.replace('-', '_')}.slice"
        told.put_pod(PodRecord(pod, uid, container.namespace, f"{container.name}-x", labels=dict(container.labels)))
        told.put_container(
            ContainerRecord(app, pod, container.name, cgroups_path=f"{slice_}:cri-containerd:{app}"),
        )
        program = Path("/usr/local/bin", container.comm)
        shutil.copy(shutil.which("sleep"), program)
        programs.append(program)
        scope = f"cri-containerd-{app}.scope"
        words = ["systemd-run", "--quiet", "--scope", f"--slice={slice_}", f"--unit={scope}"]
        # The runtime starts a container's program: its parent runs another one.
        started = subprocess.Popen([*words, "sh", "-c", f"echo 0 >/proc/self/oom_score_adj; {program} 600 & wait"])
        scopes.append((scope, started))
        group = f"/kubepods.slice/kubepods-burstable.slice/{slice_}/{scope}"
        return pid_in(group, container.comm)

    start.told = told
    yield start
    for scope, started in scopes:
        with contextlib.suppress(AssertionError):
            systemctl("stop", scope)
        started.wait()
    for program in programs:
        program.unlink()


def pid_in(group: str, comm: str) -> int:
    """The process of that name in a group, once it is there."""
    deadline = time.monotonic() + PATIENCE_S
    found: dict[str, str] = {}
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            for pid in Path("/sys/fs/cgroup" + group, "cgroup.procs").read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    found[Path(f"/proc/{pid}/comm").read_text().strip()] = pid
        if comm in found:
            return int(found[comm])
        os.sched_yield()
    raise AssertionError(f"no {comm} in {group}, only {found}")


def group_of_unit(unit: str) -> str:
    """Its cgroup, which it has while a process of it runs."""
    group = systemctl("show", "--value", "-p", "ControlGroup", unit).strip()
    assert group, subprocess.run(["systemctl", "status", unit], capture_output=True, text=True, check=False).stdout
    return group


def main_pid(some: Daemon) -> int:
    """The main process of a packaged unit, once it runs its program: a unit of Type=idle waits first."""

    def running() -> int:
        pid = int(systemctl("show", "--value", "-p", "MainPID", some.unit))
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended, and systemd starts another
            return pid if os.readlink(f"/proc/{pid}/exe") == some.program else 0
        return 0

    return until(running, f"{some.program} runs in {some.unit}")


def has_user(name: str) -> None:
    """The user that a package made on such a node."""
    with contextlib.suppress(KeyError):
        pwd.getpwnam(name)
        return
    subprocess.run(["useradd", "--system", "--no-create-home", name], check=True)


def uid_of(name: str) -> int | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name).pw_uid
    return None


def book():
    """All built-in rules, in force."""
    config = PlacementConfig(dry_run=False, builtin_rules="all", builtin_namespaces=NAMESPACES)
    return compile_rules(with_builtin(config), uid_of)


def held(engine, rules, pid: int) -> tuple[str | None, int, tuple[str, ...]]:
    """The rule that a process is under, its value, and those of the facts that protection goes by that hold."""
    placement = engine.placement(pid)
    if placement is None:
        return None, adj_of(pid), ()
    assert (placement.state, placement.refusals, placement.by_claim) == (State.HELD, (), False)
    considered = next(one for one in rules.consider(engine.engine.process(pid)) if one.rule == placement.rule)
    facts = tuple(one.key for one in considered.keys if one.key in GROUNDS and not one.claim)
    return placement.rule, adj_of(pid), facts


@pytest.mark.parametrize("node", NODES)
def test_each_built_in_rule_protects_the_real_thing(run, units, pods, placed, node):
    found: list[tuple[int, Daemon | Container]] = []
    wanted: dict[str, tuple[str, list[str]]] = {}
    for some in NODES[node]:
        if isinstance(some, Container):
            found.append((pods(some), some))
            continue
        has_user(some.user)
        wanted.setdefault(some.unit, (some.user, []))[1].append(placed(some.program, some.name))
    units(wanted)
    for some in NODES[node]:
        if isinstance(some, Daemon):
            pid = pid_in(group_of_unit(some.unit), some.comm)
            comes_to_run(pid, some.program)
            found.append((pid, some))
    engine = run(pods=pods.told)
    rules = book()
    engine.engine.set_rules(rules).result(60)
    engine.sweep()
    for pid, some in found:
        facts = NAMESPACE if isinstance(some, Container) else some.facts
        rule, value, seen = held(engine, rules, pid)
        assert (some.comm, rule, value) == (some.comm, some.rule, some.value)
        assert set(facts) <= set(seen), f"{some}: only {seen} were facts in {groups_of(pid, '/proc')}"


def test_every_built_in_rule_has_its_real_thing_on_some_node():
    shown = {some.rule for node in NODES.values() for some in node}
    assert shown - {None} == {rule.name for name in names() for rule in load(name)}


@peer("containerd", "sshd", "prometheus-node-exporter")
def test_the_daemons_of_debian_s_packages_are_protected_in_their_units(run):
    units = [some.unit for some in PACKAGED]
    try:
        systemctl("start", *units)
        started = [(main_pid(some), some) for some in PACKAGED]
        for pid, _ in started:
            Path(f"/proc/{pid}/oom_score_adj").write_text("0")  # whatever its unit or itself asked for
        engine = run()
        rules = book()
        engine.engine.set_rules(rules).result(60)
        engine.sweep()
        for pid, some in started:
            assert (some.unit, *held(engine, rules, pid)[:2]) == (some.unit, some.rule, some.value)
            assert set(some.facts) <= set(held(engine, rules, pid)[2]), some
            assert engine.placement(pid).adj_before == 0
    finally:
        systemctl("stop", *units)
