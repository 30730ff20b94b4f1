"""The built-in rules against an ordinary user with a unit that systemd delegated, on a host with cgroup v2 alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from holdfast.node.rule.builtin import known, with_builtin
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import PlacementConfig
from holdfast.pods.directory import Directory
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord

from tests.hostile.node_kit import NOBODY
from tests.integration.conftest import run  # noqa: F401 (a fixture)
from tests.integration.node_kit import adj_of
from tests.needs import systemd
from tests.running import until

# ruff: noqa: F811 (parameters are fixtures)
pytestmark = systemd
UNIT, REAL = "holdfast-test-evil", "holdfast-test-node-exporter"
UID, POD, APP = "11111111-2222-3333-4444-555555555555", "a" * 64, "b" * 64
POD_GROUP = f"kubepods/pod{UID}/{APP}"

#: What the user runs: a name of a daemon's in a group of its own making, a pod's directory, a program of root's under
#: the name of a shim, another over a program's path in namespaces of its own.
EVIL = f"""
import ctypes, os, subprocess, sys, time
home = sys.argv[1]
at = "/sys/fs/cgroup" + open("/proc/self/cgroup").read().strip().split("::")[1]
def process(group, name):
    if os.fork() == 0:
        os.makedirs(at + group, exist_ok=True)
        open(at + group + "/cgroup.procs", "w").write(str(os.getpid()))
        ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
        open(home + "/is-" + str(os.getpid()), "w").close()
        time.sleep(600)
process("/a\\r0::/system.slice/prometheus-node-exporter.service", "node_exporter")
process("/prometheus-node-exporter.service", "node_exporter")
process("/{POD_GROUP}", "calico-node")
process("/{APP}", "postgres")
for name in ("containerd", "kubelet", "k3s-server", "dockerd", "sshd", "agetty", "crio", "conmon"):
    process("/" + name + ".service", name)
for name in ("containerd-shim-x", "conmon", "containerd"):
    os.symlink("/usr/bin/su", home + "/" + name)
    subprocess.Popen([home + "/" + name, "-c", "true"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)
bound = "mount --bind /usr/bin/sleep /usr/sbin/agetty && exec /usr/sbin/agetty 600"
subprocess.Popen(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", bound])
open(home + "/ready", "w").close()
time.sleep(600)
"""
FORKED, STARTED = 12, 4  #: processes with a name and a group of their own; programs


def theirs():
    """The processes whose real user is the attacker, with what they are called and the program they run."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{pid}/status").read_text()
            uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:4]
            if str(NOBODY) in uids:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                found[int(pid)] = name, os.readlink(f"/proc/{pid}/exe")
    return found


@pytest.fixture
def home():
    """A folder of the attacker's, where its programs may be executed and set-user-id programs linked."""
    path = Path("/var/tmp/holdfast-test-evil")
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def unit():
    """Starts units of systemd's of an ordinary user's."""
    started = []

    def start(name, user, *command, **properties):
        given = [f"--property={key}={value}" for key, value in properties.items()]
        words = ["systemd-run", "--quiet", f"--unit={name}", f"--property=User={user}", *given, *map(str, command)]
        subprocess.run(words, check=True)
        started.append(name)
        main = subprocess.run(
            ["systemctl", "show", "--value", "-p", "MainPID", name], capture_output=True, text=True, check=True
        )
        return int(main.stdout)

    yield start
    subprocess.run(["systemctl", "stop", *started], check=True)


def test_an_ordinary_user_has_nothing_below_zero_from_the_built_in_rules(run, unit, home, tmp_path):
    pods = Directory()
    pods.put_pod(PodRecord(POD, UID, "kube-system", "calico-node-x"))
    pods.put_container(ContainerRecord(APP, POD, "calico-node", ContainerState.RUNNING, cgroups_path=f"/{POD_GROUP}"))
    engine = run(pods=pods)
    named = dict.fromkeys(known(), ("kube-system",))
    config = PlacementConfig(dry_run=False, builtin_rules=known(), builtin_namespaces=named)
    engine.engine.set_rules(compile_rules(with_builtin(config), {"root": 0}.get)).result(60)
    program = Path("/usr/local/bin/node_exporter")  # the real one, in its own unit, of a user of its own
    shutil.copy("/usr/bin/sleep", program)
    python = home / "evil.py"
    python.write_text(EVIL)
    try:
        real = unit(REAL, "daemon", program, 600)
        unit(UNIT, NOBODY, "/usr/bin/python3", python, home, Delegate="yes")  # which the user may run
        until((home / "ready").exists)
        until(lambda: len(list(home.glob("is-*"))) == FORKED)
        programs = ["/usr/bin/su"] * (STARTED - 1) + ["/usr/sbin/agetty"]
        until(lambda: sorted(exe for _, exe in theirs().values() if exe in programs) == programs)
        until(lambda: os.readlink(f"/proc/{real}/exe") == str(program))
        engine.sweep()
        found = theirs()
        assert {"node_exporter", "containerd", "containerd-shim", "calico-node"} <= {name for name, _ in found.values()}
        assert {pid: (name, adj_of(pid)) for pid, (name, _) in found.items() if adj_of(pid) < 0} == {}
        assert adj_of(real) == -500, "the real thing is protected"
    finally:
        program.unlink()
