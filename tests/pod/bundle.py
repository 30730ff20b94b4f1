"""A pod template as an OCI bundle: what the kubelet and the container runtime make of it, as far as we use it.

Not copied: the pod's own network (the container shares ours, so that the test can dial the probes) and the pause
container. hostPath volumes are led to folders of the test, but for the cgroup tree. The mounts that a runtime makes
by itself are containerd's (``pkg/oci/mounts.go``, ``internal/cri/server/container_create_linux.go``): a pod's own
mounts take the place of those.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.needs import path_of

REPOSITORY = Path(__file__).parents[2]
ENTRYPOINT = "/opt/holdfast/bin/holdfast"
ENVIRON = ["PATH=/opt/holdfast/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"]
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/scsi"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


@dataclass(frozen=True, slots=True)
class Root:
    """A root file system, and places of this machine that are seen in it under their own names, read-only."""

    path: Path
    binds: tuple[Path, ...] = ()


def machine_root(folder: Path) -> Root:
    """This machine's Python and this checkout at the image's paths: what the image has, without building one."""
    for name in ("usr", "etc", "proc", "sys", "dev", "tmp", "run", "var/lib"):
        (folder / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if (host := Path("/", name)).is_symlink():
            (folder / name).symlink_to(host.readlink())
    command = folder / ENTRYPOINT.lstrip("/")
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY}/service exec {sys.executable} -m holdfast "$@"\n')
    command.chmod(0o755)
    python = [Path(prefix) for prefix in (sys.base_prefix, sys.prefix) if not prefix.startswith("/usr")]
    directories = [Path("/", name) for name in ("bin", "sbin", "lib", "lib64") if not Path("/", name).is_symlink()]
    files = [Path("/etc", name) for name in ("ld.so.cache", "passwd", "group", "localtime")]
    binds = [Path("/usr"), *directories, *files, *python, REPOSITORY / "service"]
    return Root(folder, tuple(path for path in binds if path.exists()))


@dataclass(frozen=True, slots=True)
class Given:
    """Apply what a runtime or a node does to a container unasked. ``places``: volume name → folder here."""

    places: Mapping[str, Path]
    cgroup: str
    private_cgroups: bool = False
    proc_options: tuple[str, ...] = ()
    environ: tuple[str, ...] = ()


def capabilities(security: Mapping[str, Any]) -> list[str]:
    """All we have for a privileged container, else those it adds."""
    if not security.get("privileged"):
        return [f"CAP_{name}" for name in security["capabilities"]["add"]]
    status = Path("/proc/self/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    decoded = subprocess.run([path_of("capsh"), f"--decode={mask}"], capture_output=True, text=True, check=True).stdout
    return sorted(decoded.strip().partition("=")[2].upper().split(","))


def write(folder: Path, root: Root, pod: Mapping[str, Any], given: Given) -> None:
    """Write ``config.json``."""
    spec = pod["spec"]
    (container,) = spec["containers"]
    security = container["securityContext"]
    caps = capabilities(security)
    private = [*([] if spec["hostPID"] else ["pid"]), *(["cgroup"] if given.private_cgroups else [])]
    privileged = bool(security.get("privileged"))
    bundle = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": security["runAsUser"], "gid": security["runAsGroup"]},
            "args": [ENTRYPOINT, *container["args"]],
            "env": [*ENVIRON, *given.environ, "NODE_NAME=test"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), caps),
            "noNewPrivileges": security.get("allowPrivilegeEscalation") is False,
        },
        "root": {"path": str(root.path), "readonly": security["readOnlyRootFilesystem"]},
        "mounts": _mounts(root, spec, container, given),
        "linux": {
            "cgroupsPath": given.cgroup,
            "namespaces": [{"type": kind} for kind in ("mount", "ipc", "uts", *private)],
            "rootfsPropagation": "rslave",
            "resources": {"devices": [{"allow": privileged, "access": "rwm"}]},
            "devices": [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o600}],
            "maskedPaths": [] if privileged else MASKED,
            "readonlyPaths": [] if privileged else READ_ONLY,
        },
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(bundle))


def _mounts(root: Root, spec: Mapping[str, Any], container: Mapping[str, Any], given: Given) -> list[dict[str, Any]]:
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    own = [_mount(mount, volumes[mount["name"]], given.places) for mount in container["volumeMounts"]]
    rights = "rw" if container["securityContext"].get("privileged") else "ro"
    fixed = ["nosuid", "noexec", "nodev"]
    unasked: list[dict[str, Any]] = [
        _made("proc", "/proc", [*fixed, *given.proc_options]),
        _made("tmpfs", "/dev", ["nosuid", "mode=755"]),
        _made("devpts", "/dev/pts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        _made("tmpfs", "/dev/shm", ["nosuid", "noexec", "nodev", "mode=1777"]),
        _made("tmpfs", "/tmp", ["nosuid", "mode=1777"]),
        _made("sysfs", "/sys", [*fixed, rights]),
        _made("cgroup", "/sys/fs/cgroup", [*fixed, "relatime", rights]),
    ]
    taken = {mount["destination"] for mount in own}
    return [
        *(mount for mount in unasked if mount["destination"] not in taken),
        *(_bound(path, path, ["rbind", "rprivate", "ro"]) for path in root.binds),  # a checkout may lie below /tmp
        *own,
    ]


def _mount(mount: Mapping[str, Any], volume: Mapping[str, Any], places: Mapping[str, Path]) -> dict[str, Any]:
    source = places.get(mount["name"]) or Path(volume["hostPath"]["path"])
    spread = "rslave" if mount.get("mountPropagation") == "HostToContainer" else "rprivate"
    read_only = "rro" if mount.get("recursiveReadOnly") else "ro"  # v1's hierarchies are mounts below the mount
    return _bound(source, Path(mount["mountPath"]), ["rbind", spread, read_only if mount.get("readOnly") else "rw"])


def _made(kind: str, destination: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": kind, "options": options}


def _bound(source: Path, destination: Path, options: list[str]) -> dict[str, Any]:
    return {"destination": str(destination), "type": "bind", "source": str(source), "options": options}
