"""On a host with cgroup v2 and systemd: the rules that ship against an ordinary user with a delegated unit.

Run as root. Prints one JSON line a process of the user's: its name, its user ids, its oom_score_adj. A control line
says what the same rules did for a real daemon, so that a host on which nothing works does not look like a safe one.
"""

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from holdfast.node.rule.builtin import known, with_shipped
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import PlacementConfig
from holdfast.pods.directory import Directory
from holdfast.pods.record import ContainerRecord, PodRecord, State

from tests.integration.node_kit import Running, adj_of

NOBODY = 65534
UNIT = "holdfast-test-evil"
UID, POD, APP = "11111111-2222-3333-4444-555555555555", "a" * 64, "b" * 64
POD_GROUP = f"kubepods/pod{UID}/{APP}"
PATIENCE_S = 120

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
time.sleep(1)
open(home + "/ready", "w").close()
time.sleep(600)
"""


def rules():
    named = dict.fromkeys(known(), ("kube-system",))
    config = PlacementConfig(dry_run=False, shipped=known(), builtin_namespaces=named)
    return compile_rules(with_shipped(config), lambda name: pwd.getpwnam(name).pw_uid if name == "root" else None)


def pods():
    told = Directory()
    told.put_pod(PodRecord(POD, UID, "kube-system", "calico-node-x"))
    told.put_container(ContainerRecord(APP, POD, "calico-node", State.RUNNING, cgroups_path=f"/{POD_GROUP}"))
    return told


def owned():
    """The processes whose real user is the attacker."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{pid}/status").read_text()
            uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:4]
            if str(NOBODY) in uids:
                yield int(pid), Path(f"/proc/{pid}/comm").read_text().strip(), uids


def tell(**words):
    sys.stdout.write(json.dumps(words) + "\n")


def wait_for(holds, what):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            subprocess.run(["journalctl", "--no-pager", "-n", "30", "-u", UNIT], check=False)
            sys.exit(f"in vain: {what}")
        time.sleep(0.05)


def main():
    with tempfile.TemporaryDirectory(prefix="hf-", dir="/var/tmp") as folder:
        home = Path(folder) / "evil"
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
        os.chmod(folder, 0o755)
        engine = Running(Path(folder), pods=pods())
        engine.engine.set_rules(rules()).result(60)
        engine.sweep()
        program = Path("/usr/local/bin/node_exporter")  # the real one, in its own unit, of a user of its own
        shutil.copy("/usr/bin/sleep", program)
        real = [
            "systemd-run",
            "--quiet",
            "-p",
            "User=daemon",
            "--unit=holdfast-test-node-exporter",
            str(program),
            "600",
        ]
        subprocess.run(real, check=True)
        python = Path(folder) / "evil.py"
        python.write_text(EVIL)
        command = ["systemd-run", "--quiet", "-p", f"User={NOBODY}", "-p", "Delegate=yes", f"--unit={UNIT}"]
        subprocess.run([*command, "/usr/bin/python3", str(python), str(home)], check=True)  # which the user may run
        wait_for((home / "ready").exists, "the attacker is not ready")
        engine.sweep()
        try:
            for pid, comm, uids in owned():
                tell(pid=pid, comm=comm, uids=uids, adj=adj_of(pid))
            main_pid = subprocess.run(
                ["systemctl", "show", "--value", "-p", "MainPID", "holdfast-test-node-exporter"],
                capture_output=True, text=True, check=True,
            ).stdout.strip()  # fmt: skip
            tell(real=adj_of(int(main_pid)))
        finally:
            subprocess.run(["systemctl", "stop", UNIT, "holdfast-test-node-exporter"], check=False)
            engine.stop()
            program.unlink()


if __name__ == "__main__":
    main()
