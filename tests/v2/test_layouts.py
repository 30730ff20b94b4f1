"""The rules that ship on three kinds of nodes, built as they are: programs at their paths, run by their users in their
units. Only in the guest, whose file system is thrown away.
"""

import os
import shutil
from pathlib import Path

import pytest
from holdfast.cgroups import UNIFIED
from holdfast.node.model.placement import State
from holdfast.node.rule.builtin import with_shipped
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import PlacementConfig
from holdfast.pods.directory import Directory
from holdfast.pods.record import ContainerRecord, PodRecord

from tests import guest
from tests.hostile.test_claims import comes_to_run, spawn  # noqa: F401 (fixture)
from tests.integration.node_kit import adj_of

POSTGRES, EXPORTER = 70_026, 70_107
UID, POD, APP = "11111111-2222-3333-4444-555555555555", "a" * 64, "b" * 64
SCOPE = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice:cri-containerd:{APP}"
POD_GROUP = (
    f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice/"
    f"cri-containerd-{APP}.scope"
)
DATA = "/var/lib/rancher/k3s/data/5a1c2e/bin"

#: The program, the name it runs under, its user, its group, the rule, and the value.
LAYOUTS = {
    "debian": [
        ("/usr/bin/containerd", "containerd", 0, "/system.slice/containerd.service", "container-runtime", -999),
        ("/usr/sbin/dockerd", "dockerd", 0, "/system.slice/docker.service", "container-runtime", -999),
        (
            "/usr/bin/containerd-shim-runc-v2",
            "containerd-shim-runc-v2",
            0,
            "/system.slice/containerd.service",
            "container-shim",
            -998,
        ),
        ("/usr/sbin/sshd", "sshd", 0, "/system.slice/ssh.service", "sshd", -900),
        ("/usr/sbin/agetty", "agetty", 0, "/system.slice/getty@tty1.service", "console-login", -900),
        (
            "/usr/bin/prometheus-node-exporter",
            "prometheus-node-exporter",
            EXPORTER,
            "/system.slice/prometheus-node-exporter.service",
            "node-exporter",
            -500,
        ),
        (
            "/usr/lib/postgresql/16/bin/postgres",
            "postgres",
            POSTGRES,
            "/system.slice/system-postgresql.slice/postgresql@16-main.service",
            "postgresql",
            -900,
        ),
    ],
    "k3s": [
        (f"{DATA}/k3s", "k3s-server", 0, "/system.slice/k3s.service", "k3s", -999),
        (f"{DATA}/k3s", "containerd", 0, "/system.slice/k3s.service", "k3s", -999),
        (
            f"{DATA}/containerd-shim-runc-v2",
            "containerd-shim-runc-v2",
            0,
            "/system.slice/k3s.service",
            "container-shim",
            -998,
        ),
        (f"{DATA}/k3s", "kubectl", 0, "/user.slice/session-1.scope", None, 0),
    ],
    "kubelet": [
        ("/usr/bin/kubelet", "kubelet", 0, "/system.slice/kubelet.service", "kubelet", -999),
        ("/usr/bin/crio", "crio", 0, "/system.slice/crio.service", "container-runtime", -999),
        ("/usr/bin/conmon", "conmon", 0, f"/system.slice/crio-conmon-{APP}.scope", "container-shim", -998),
        ("/usr/local/bin/kube-proxy", "kube-proxy", 0, POD_GROUP, "kube-proxy", -999),
    ],
}


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
        if name == program.name:
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


@pytest.mark.skipif(guest.REPORT not in os.environ, reason="writes to /usr: only in a guest that is thrown away")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_built_in_rule_protects_the_real_thing(run, spawn, hierarchy, placed, layout):  # noqa: F811
    tree = hierarchy.tree(UNIFIED)
    pods = Directory()
    pods.put_pod(PodRecord(POD, UID, "kube-system", "kube-proxy-x"))
    pods.put_container(ContainerRecord(APP, POD, "kube-proxy", cgroups_path=SCOPE))
    engine = run(pods=pods)
    found = []
    for path, name, uid, unit, rule, value in LAYOUTS[layout]:
        command = placed(path, name)
        user = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups") if uid else ()
        started = spawn("sh", "-c", 'echo 0 > /proc/self/oom_score_adj; exec "$@"', "sh", *user, command, "600")
        comes_to_run(started.pid, path)
        tree.create(unit)
        tree.join(unit, started.pid)
        found.append((started.pid, name, rule, value))
    users = {"postgres": POSTGRES, "root": 0}
    config = PlacementConfig(dry_run=False, shipped="all")
    engine.engine.set_rules(compile_rules(with_shipped(config), users.get)).result(60)
    engine.sweep()
    placements = {some.pid: some for some in engine.engine.placements()}
    for pid, name, rule, value in found:
        placement = placements.get(pid)
        assert (name, placement and placement.rule, adj_of(pid)) == (name, rule, value)
        assert placement is None or (placement.state, placement.refusals) == (State.HELD, ())
