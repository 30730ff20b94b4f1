"""A node: containerd and kubelet, their configuration, and the file system they see.

A node has a mount namespace of its own, in which the paths that the kubelet, the runtime and holdfast write to lead
into the cluster's folder; images and containers are in memory there (some 300 MiB). Its processes and cgroups are this
machine's, below the cluster's cgroup.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import network
from tests.cluster.certificate import Authority
from tests.cluster.images import PAUSE
from tests.cluster.state import State
from tests.needs import BIN, path_of
from tests.running import SLOW

CONTAINERD = "/run/containerd/containerd.sock"
#: folder of the node → path that leads there in the node's mount namespace
BINDS = {
    "kubelet": "/var/lib/kubelet",
    "holdfast": "/var/lib/holdfast",
    "pods": "/var/log/pods",
    "containers": "/var/log/containers",
}
Command = list[str | Path]


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a cluster."""

    state: State
    name: str

    @property
    def folder(self) -> Path:
        """Return what the node writes."""
        return self.state.folder / self.name

    @property
    def manifests(self) -> Path:
        """The folder of its static pods."""
        return self.folder / "manifests"

    @property
    def cgroup(self) -> str:
        """The cgroup below which its pods are."""
        return f"/{self.state.cgroup}/{self.name}"

    def write(self) -> None:
        """Write the configuration and create the folders."""
        for name in (*BINDS, "containerd", "cni", "manifests", "volume-plugins"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "containerd.toml").write_text(self._containerd_toml())
        (self.folder / "cni" / "10-pods.conflist").write_text(json.dumps(network.cni(self.name)))
        (self.folder / "kubelet.yaml").write_text(json.dumps(self._kubelet_configuration(), indent=1))

    def mount_script(self) -> str:
        """Shell commands for the node's mount namespace. Its mounts are shared, as systemd has them."""
        images = shlex.quote(str(self.folder / "containerd"))
        binds = [
            f"mkdir -p {where} && mount --bind {shlex.quote(str(self.folder / name))} {where}"
            for name, where in BINDS.items()
        ]
        return "\n".join(
            [
                "mount --make-rprivate /",
                "mount -t tmpfs -o mode=755 tmpfs /run",
                f"mkdir -p /run/containerd /run/lock && mount -t tmpfs -o size=3g tmpfs {images}",
                *binds,
                "mount --make-rshared /",
            ]
        )

    def containerd(self) -> Command:
        """The runtime's command; its shim is found beside it."""
        programs = BIN / "containerd23"
        path = f"PATH={programs}:{Path(path_of('runc')).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        return ["env", path, programs / "containerd", "--config", self.folder / "containerd.toml"]

    def kubelet(self) -> Command:
        """The kubelet's command."""
        return [
            self.state.programs / "kubelet",
            f"--kubeconfig={Authority(self.state).kubeconfig(self.name)}",
            f"--config={self.folder / 'kubelet.yaml'}",
            f"--hostname-override={self.name}",
            f"--node-ip={network.address(self.name)}",
        ]

    def _containerd_toml(self) -> str:
        # Where nobody may lower an oom_score_adj, no pod would start without restrict_oom_score_adj.
        return f"""version = 3
root = "{self.folder / "containerd"}"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.folder / "containerd" / "opt"}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = {str(not may_lower_oom_score_adj()).lower()}
  disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
  conf_dir = "{self.folder / "cni"}"
"""

    def _kubelet_configuration(self) -> dict[str, object]:
        authority = Authority(self.state)
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": network.address(self.name),
            "authentication": {
                "x509": {"clientCAFile": str(authority.cert("ca"))},
                "webhook": {"enabled": True},
                "anonymous": {"enabled": False},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(authority.cert(f"{self.name}-serving")),
            "tlsPrivateKeyFile": str(authority.key(f"{self.name}-serving")),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
            "staticPodPath": str(self.manifests),
            "volumePluginDir": str(self.folder / "volume-plugins"),
            "makeIPTablesUtilChains": False,
            "clusterDNS": [network.DNS_SERVICE],
            "clusterDomain": "cluster.local",
            # This machine's disk and memory are others' too; the images are there once and cannot be pulled again.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageMinimumGCAge": "24h",
            "serializeImagePulls": False,
            # A sync that a touched pod causes may come before the news of its ConfigMap; then the next one has it.
            "syncFrequency": "10s",
            # Also how long the kubelet waits for the API server's answer to either.
            "nodeStatusUpdateFrequency": f"{4 * SLOW:.0f}s",
            "nodeLeaseDurationSeconds": round(20 * SLOW),
            "shutdownGracePeriod": "0s",
        }


def may_lower_oom_score_adj() -> bool:
    """Whether this process has CAP_SYS_RESOURCE."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective, 16) >> 24 & 1)
