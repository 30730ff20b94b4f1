"""The commands of the control plane: etcd, API server, controller manager, scheduler."""

from __future__ import annotations

from pathlib import Path

from tests.cluster import network
from tests.cluster.certificate import Authority
from tests.cluster.state import State
from tests.needs import path_of
from tests.running import SLOW

ETCD = "http://127.0.0.1:2379"
ETCD_PEER = "http://127.0.0.1:2380"
Command = list[str | Path]


def commands(state: State) -> dict[str, Command]:
    """The command of each component, in the order to start them."""
    authority = Authority(state)
    return {
        "etcd": etcd(state),
        "kube-apiserver": apiserver(state, authority),
        "kube-controller-manager": controller_manager(state, authority),
        "kube-scheduler": [
            state.programs / "kube-scheduler",
            "--leader-elect=false",
            *credentials(authority.kubeconfig("scheduler")),
        ],
    }


def etcd(state: State) -> Command:
    """One member; what it stores need not survive a power cut."""
    return [
        path_of("etcd"),
        f"--data-dir={state.folder / 'etcd'}",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        f"--listen-peer-urls={ETCD_PEER}",
        f"--initial-advertise-peer-urls={ETCD_PEER}",
        f"--initial-cluster=default={ETCD_PEER}",
        "--unsafe-no-fsync",
        f"--heartbeat-interval={100 * SLOW:.0f}",
        f"--election-timeout={1000 * SLOW:.0f}",
    ]


def apiserver(state: State, authority: Authority) -> Command:
    """With the authorization modes of kubeadm."""
    return [
        state.programs / "kube-apiserver",
        f"--etcd-servers={ETCD}",
        f"--service-cluster-ip-range={network.SERVICES}",
        f"--secure-port={network.API_PORT}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={network.CONTROL}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={authority.cert('sa')}",
        f"--service-account-signing-key-file={authority.key('sa')}",
        f"--tls-cert-file={authority.cert('apiserver')}",
        f"--tls-private-key-file={authority.key('apiserver')}",
        f"--client-ca-file={authority.cert('ca')}",
        f"--kubelet-certificate-authority={authority.cert('ca')}",
        f"--kubelet-client-certificate={authority.cert('admin')}",
        f"--kubelet-client-key={authority.key('admin')}",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def controller_manager(state: State, authority: Authority) -> Command:
    """All controllers; each uses a service account of its own."""
    return [
        state.programs / "kube-controller-manager",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--node-monitor-grace-period={50 * SLOW:.0f}s",
        f"--root-ca-file={authority.cert('ca')}",
        f"--service-account-private-key-file={authority.key('sa')}",
        *credentials(authority.kubeconfig("controller-manager")),
    ]


def credentials(kubeconfig: Path) -> Command:
    """One kubeconfig for all that a component asks the API server."""
    return [
        "--bind-address=127.0.0.1",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
    ]
