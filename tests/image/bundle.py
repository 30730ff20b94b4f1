"""A pod template as an OCI bundle: what the kubelet and the container runtime make of it, as far as we use it.

Not copied: the pod's own network (the container shares ours, so that the test can dial the probes) and the pause
container. hostPath volumes are led to folders of the test, but for the cgroup tree.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.needs import path_of

ENTRYPOINT = "/opt/holdfast/bin/holdfast"
ENVIRON = ["PATH=/opt/holdfast/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"]


def capabilities(security: Mapping[str, Any]) -> list[str]:
    """All we have for a privileged container, else those it adds."""
    if not security.get("privileged"):
        return [f"CAP_{name}" for name in security["capabilities"]["add"]]
    status = Path("/proc/self/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    decoded = subprocess.run([path_of("capsh"), f"--decode={mask}"], capture_output=True, text=True, check=True).stdout
    return sorted(decoded.strip().partition("=")[2].upper().split(","))


def write(folder: Path, rootfs: Path, pod: Mapping[str, Any], places: Mapping[str, Path], cgroup: str) -> None:
    """Write ``config.json``; ``places``: volume name → folder here."""
    spec = pod["spec"]
    (container,) = spec["containers"]
    security = container["securityContext"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    caps = capabilities(security)
    namespaces = [{"type": kind} for kind in ("mount", "ipc", "uts", *([] if spec["hostPID"] else ["pid"]))]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=1777"]},
        *(_mount(mount, volumes[mount["name"]], places) for mount in container["volumeMounts"]),
    ]
    bundle = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": security["runAsUser"], "gid": security["runAsGroup"]},
            "args": [ENTRYPOINT, *container["args"]],
            "env": [*ENVIRON, "NODE_NAME=test"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), caps),
            "noNewPrivileges": security.get("allowPrivilegeEscalation") is False,
        },
        "root": {"path": str(rootfs), "readonly": security["readOnlyRootFilesystem"]},
        "mounts": mounts,
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": namespaces,
            "rootfsPropagation": "rslave",
            "resources": {"devices": [{"allow": True, "access": "rwm"}]},
            "devices": [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o600}],
        },
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(bundle))


def _mount(mount: Mapping[str, Any], volume: Mapping[str, Any], places: Mapping[str, Path]) -> dict[str, Any]:
    source = places.get(mount["name"]) or Path(volume["hostPath"]["path"])
    spread = "rslave" if mount.get("mountPropagation") == "HostToContainer" else "rprivate"
    options = ["rbind", spread, "ro" if mount.get("readOnly") else "rw"]
    return {"destination": mount["mountPath"], "type": "bind", "source": str(source), "options": options}
