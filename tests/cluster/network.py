"""Addresses, and the network between a cluster's namespaces.

The control plane's namespace has a bridge; each node's namespace has one end of a veth pair on it. The addresses are
those of a network of its own: nothing of it is seen outside the namespaces, and it ends with them.
"""

from __future__ import annotations

CONTROL = "10.90.0.1"
API_PORT = 6443
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"


def number(node: str) -> int:
    """1 for node-1."""
    return int(node.rpartition("-")[2])


def address(node: str) -> str:
    """A node's address."""
    return f"10.90.0.{10 + number(node)}"


def pod_network(node: str) -> str:
    """The addresses of a node's pods."""
    return f"10.244.{number(node)}.0/24"


def control_script() -> str:
    """Shell commands for the control plane's namespace."""
    return f"""
ip link set lo up
ip link add cluster type bridge
ip addr add {CONTROL}/24 dev cluster
ip link set cluster up
sysctl -qw net.ipv4.ip_forward=1
{api_by_service_address()}
"""


def node_link_script(node: str, node_pid: int) -> str:
    """Shell commands for the control plane's namespace: connect the namespace of a node."""
    return f"""
ip link add veth{number(node)} type veth peer name eth0 netns {node_pid}
ip link set veth{number(node)} master cluster up
ip route add {pod_network(node)} via {address(node)}
"""


def node_script(node: str) -> str:
    """Shell commands for a node's namespace, after `node_link_script`."""
    return f"""
ip link set lo up
ip addr add {address(node)}/24 dev eth0
ip link set eth0 up
ip route add default via {CONTROL}
sysctl -qw net.ipv4.ip_forward=1
{api_by_service_address()}
"""


def api_by_service_address() -> str:
    """The one Service that every cluster has, without kube-proxy."""
    return "\n".join(
        f"iptables -w -t nat -A {chain} -d {API_SERVICE} -p tcp --dport 443 -j DNAT --to {CONTROL}:{API_PORT}"
        for chain in ("PREROUTING", "OUTPUT")
    )


def cni(node: str) -> dict[str, object]:
    """The container network of a node: a bridge, addresses from the node's own range."""
    ipam = {
        "type": "host-local",
        "dataDir": "/run/cni-ipam",
        "ranges": [[{"subnet": pod_network(node)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}
