# ruff: noqa: E501 (a file stays as it is found)
"""Configurations in the shape in which distributions and installers write them, with their own paths.

Only the keys that matter are here: where files and sockets are, what is disabled, required and imported, drop-ins,
and the sections of CRI and of snapshotters, which holdfast does not have. ``io.containerd.nri.v1.nri`` and
``io.containerd.cri.v1.*`` are the names since containerd 2.0.
"""

from __future__ import annotations

CRI = 'plugins."io.containerd.grpc.v1.cri"'
RUNTIME, IMAGES = "plugins.'io.containerd.cri.v1.runtime'", "plugins.'io.containerd.cri.v1.images'"
MAIN = "/etc/containerd/config.toml"


def runc(section: str, name: str = "runc", options: str = "SystemdCgroup = true") -> str:
    """A runtime of CRI."""
    return f"""
[{section}.containerd.runtimes.{name}]
  runtime_type = "io.containerd.runc.v2"
  [{section}.containerd.runtimes.{name}.options]
    {options}
"""


NVIDIA = runc(CRI, "nvidia", 'BinaryName = "/usr/bin/nvidia-container-runtime"')
NVIDIA_3 = runc(RUNTIME, "nvidia", 'BinaryName = "/usr/local/nvidia/toolkit/nvidia-container-runtime"')

#: Name → the files; the first one is the main file.
WILD: dict[str, dict[str, str]] = {
    "docker_package": {MAIN: 'disabled_plugins = ["cri"]\n#root = "/var/lib/containerd"\n#[grpc]\n#  uid = 0\n'},
    "dockerd": {
        "/run/docker/containerd/containerd.toml": """version = 2
root = "/var/lib/docker/containerd/daemon"
state = "/var/run/docker/containerd/daemon"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
oom_score = 0
[grpc]
  address = "/var/run/docker/containerd/containerd.sock"
  max_recv_message_size = 16777216
  max_send_message_size = 16777216
[debug]
  address = "/var/run/docker/containerd/containerd-debug.sock"
  level = "info"
"""
    },
    "dockerd_4": {
        "/run/docker/containerd/containerd.toml": """version = 4
root = "/var/lib/docker/containerd/daemon"
state = "/var/run/docker/containerd/daemon"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]
[debug]
  level = "info"
[plugins."io.containerd.server.v1.grpc"]
  address = "/var/run/docker/containerd/containerd.sock"
[plugins."io.containerd.server.v1.ttrpc"]
  address = "/var/run/docker/containerd/containerd.sock.ttrpc"
[plugins."io.containerd.server.v1.debug"]
  address = "/var/run/docker/containerd/containerd-debug.sock"
"""
    },
    "debian": {
        MAIN: f"""version = 2
[plugins]
  [{CRI}]
    [{CRI}.cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
"""
    },
    "kubeadm": {MAIN: f'version = 2\n[{CRI}]\n  sandbox_image = "registry.k8s.io/pause:3.9"\n{runc(CRI)}'},
    "k3s_2": {
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml": f"""version = 2
root = "/var/lib/rancher/k3s/agent/containerd"
state = "/run/k3s/containerd"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/rancher/k3s/agent/containerd"
[grpc]
  address = "/run/k3s/containerd/containerd.sock"
[{CRI}]
  stream_server_address = "127.0.0.1"
  stream_server_port = "10010"
  enable_unprivileged_ports = true
[{CRI}.containerd]
  snapshotter = "overlayfs"
  disable_snapshot_annotations = true
{runc(CRI)}"""
    },
    "k3s_3": {
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml": f"""version = 3
imports = ["/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/*.toml"]
root = "/var/lib/rancher/k3s/agent/containerd"
state = "/run/k3s/containerd"
[grpc]
  address = "/run/k3s/containerd/containerd.sock"
[plugins.'io.containerd.internal.v1.opt']
  path = "/var/lib/rancher/k3s/agent/containerd"
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
[{IMAGES}]
  snapshotter = "overlayfs"
  use_local_image_pull = true
{runc(RUNTIME)}""",
        "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/10-log.toml": "version = 3\n[debug]\nlevel = 'debug'\n",
    },
    "rke2": {
        "/var/lib/rancher/rke2/agent/etc/containerd/config.toml": f"""version = 3
root = "/var/lib/rancher/rke2/agent/containerd"
state = "/run/k3s/containerd"
[grpc]
  address = "/run/k3s/containerd/containerd.sock"
[plugins.'io.containerd.internal.v1.opt']
  path = "/var/lib/rancher/rke2/agent/containerd"
{runc(RUNTIME)}{NVIDIA_3}[{IMAGES}.registry]
  config_path = "/var/lib/rancher/rke2/agent/etc/containerd/certs.d"
"""
    },
    "kind": {
        MAIN: f"""version = 2
[{CRI}.containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
  discard_unpacked_layers = true
{runc(CRI)}{runc(CRI, "test-handler")}[{CRI}]
  sandbox_image = "registry.k8s.io/pause:3.10"
  tolerate_missing_hugetlb_controller = true
  restrict_oom_score_adj = false
[proxy_plugins]
  [proxy_plugins."fuse-overlayfs"]
    type = "snapshot"
    address = "/run/containerd-fuse-overlayfs.sock"
"""
    },
    "minikube": {
        MAIN: f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
imports = ["/etc/containerd/containerd.conf.d/02-containerd.conf"]
[grpc]
  address = "/run/containerd/containerd.sock"
  uid = 0
  gid = 0
  max_recv_message_size = 16777216
  max_send_message_size = 16777216
[debug]
  address = ""
  uid = 0
  gid = 0
  level = ""
[metrics]
  address = ""
  grpc_histogram = false
[cgroup]
  path = ""
[plugins]
  [plugins."io.containerd.monitor.v1.cgroups"]
    no_prometheus = false
  [{CRI}]
    enable_selinux = false
  [plugins."io.containerd.service.v1.diff-service"]
    default = ["walking"]
  [plugins."io.containerd.gc.v1.scheduler"]
    pause_threshold = 0.02
    deletion_threshold = 0
    mutation_threshold = 100
    schedule_delay = "0s"
    startup_delay = "100ms"
""",
        "/etc/containerd/containerd.conf.d/02-containerd.conf": "version = 2\n",
    },
    "talos_system": {
        MAIN: """version = 3
disabled_plugins = [
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.grpc.v1.cri",
  "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.tracing.processor.v1.otlp"]
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[debug]
  level = "info"
  format = "json"
"""
    },
    "talos_cri": {
        "/etc/cri/containerd.toml": """version = 3
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
imports = ["/etc/cri/conf.d/cri.toml"]
[debug]
  level = "info"
  format = "json"
""",
        "/etc/cri/conf.d/cri.toml": f"version = 3\n[{IMAGES}]\n  discard_unpacked_layers = true\n{runc(RUNTIME)}",
    },
    "nvidia_toolkit_2": {
        MAIN: f'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n{runc(CRI)}',
        "/etc/containerd/conf.d/99-nvidia.toml": f'version = 2\n[{CRI}.containerd]\n  default_runtime_name = "nvidia"\n{NVIDIA}',
    },
    "nvidia_toolkit_3": {
        MAIN: f"version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n{runc(RUNTIME)}",
        "/etc/containerd/conf.d/99-nvidia.toml": f"version = 3\n[{RUNTIME}]\n  enable_cdi = true\n  cdi_spec_dirs = ['/etc/cdi']\n{NVIDIA_3}",
    },
    "gke": {
        MAIN: f"""version = 2
required_plugins = ["io.containerd.grpc.v1.cri"]
oom_score = -999
[debug]
  level = "info"
[{CRI}]
  stream_server_address = "127.0.0.1"
  max_container_log_line_size = 262144
[{CRI}.cni]
  bin_dir = "/home/kubernetes/bin"
[proxy_plugins]
  [proxy_plugins.gcfs]
    type = "snapshot"
    address = "/run/containerd-gcfs-grpc/containerd-gcfs-grpc.sock"
"""
    },
    "gardener_3": {
        MAIN: f"""version = 3
imports = ["/etc/containerd/conf.d/*.toml"]
[{RUNTIME}.cni]
  bin_dir = "/opt/cni/bin"
[{IMAGES}.registry]
  config_path = "/etc/containerd/certs.d"
{runc(RUNTIME)}"""
    },
    "gardener_4": {
        MAIN: f"""version = 4
imports = ["/etc/containerd/conf.d/*.toml"]
[{IMAGES}.registry]
  config_path = "/etc/containerd/certs.d"
{runc(RUNTIME)}[plugins.'io.containerd.server.v1.metrics']
  address = "127.0.0.1:1338"
""",
        "/etc/containerd/conf.d/10-debug.toml": "version = 4\n[debug]\nlevel = 'warn'\n",
    },
    "contrast_4": {
        MAIN: """version = 4
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.contrast-cc]
  runtime_type = "io.containerd.contrast-cc.v2"
  pod_annotations = ["io.katacontainers.*"]
  privileged_without_host_devices = true
[proxy_plugins.nydus]
  type = "snapshot"
  address = "/run/containerd/containerd-nydus-grpc.sock"
"""
    },
    "eks": {
        MAIN: f"""version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[{IMAGES}]
  discard_unpacked_layers = true
  snapshotter = "overlayfs"
{runc(RUNTIME)}"""
    },
    "aks": {
        MAIN: f"""version = 2
oom_score = -999
[{CRI}]
  sandbox_image = "mcr.microsoft.com/oss/kubernetes/pause:3.6"
{runc(CRI)}[metrics]
  address = "0.0.0.0:10257"
"""
    },
    "microk8s": {
        MAIN: f"""version = 2
oom_score = 0
[grpc]
  uid = 0
  gid = 0
[debug]
  address = ""
[metrics]
  address = "127.0.0.1:1338"
  grpc_histogram = false
[cgroup]
  path = ""
[{CRI}]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  enable_selinux = false
"""
    },
    "flatcar": {
        MAIN: """version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
subreaper = true
oom_score = -999
disabled_plugins = []
[grpc]
address = "/run/containerd/containerd.sock"
uid = 0
gid = 0
[plugins."io.containerd.runtime.v1.linux"]
shim = "containerd-shim"
runtime = "runc"
no_shim = false
"""
    },
    "stargz": {
        MAIN: """version = 2
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "stargz"
  disable_snapshot_annotations = false
[proxy_plugins]
  [proxy_plugins.stargz]
    type = "snapshot"
    address = "/run/containerd-stargz-grpc/containerd-stargz-grpc.sock"
  [proxy_plugins.stargz.exports]
    root = "/var/lib/containerd-stargz-grpc/"
"""
    },
}  # fmt: skip

#: What holdfast answers to those that ask for a plugin which it does not have; the page has their names.
REFUSED = {"gke": "required plugin [io.containerd.grpc.v1.cri] not included"}
