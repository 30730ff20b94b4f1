"""Groups that a node depends on: to freeze or to limit one stops more than the processes that a rule is about.

By the names that systemd, the kubelet and the runtimes give them. A rule that means such a group says
``limit_node_groups: true``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.errors import InvalidArgument
from holdfast.node.rule.pattern import compile_pattern
from holdfast.node.rule.quantity import Value
from holdfast.node.rule.setting import plain, stops

#: Everybody of a kind is below these: services, users, pods, containers.
_SHARED = (
    *("init.scope", "-.slice", "system.slice", "user.slice", "machine.slice", "docker", "lxc", "podruntime.slice"),
    *("runtime.slice", "kubelet.slice", "system-*.slice"),
    *("kubepods", "kubepods.slice", "*-kubepods.slice", "burstable", "besteffort"),
    *("kubepods-burstable.slice", "kubepods-besteffort.slice"),
)
#: Without these nothing starts, stops, or can be logged in to.
_DAEMONS = (
    *("containerd", "docker", "dockerd", "crio", "cri-docker", "kubelet", "podman"),
    *("k3s", "k3s-agent", "rke2-server", "rke2-agent", "k0scontroller", "k0sworker", "microk8s"),
    *("systemd-*", "dbus", "dbus-broker", "ssh", "sshd", "NetworkManager"),
)
_NAMES = tuple(map(compile_pattern, (*_SHARED, *(f"{name}.service" for name in _DAEMONS))))


def is_node_group(path: str) -> bool:
    """Whether the node depends on the group ``path``; groups below it are others."""
    name = path.rpartition("/")[2]
    return any(pattern.holds(name) for pattern in _NAMES)


def check_target(path: str, settings: Mapping[str, Value]) -> None:
    """Refuse a target whose settings would freeze or limit what the node depends on.

    Raises:
        InvalidArgument: with the setting, and what lifts it.
    """
    if is_node_group(path) and (file := first_that_stops(settings.items())):
        raise InvalidArgument(f"cgroup.settings: {file}: {why(path)}")


def first_that_stops(settings: Iterable[tuple[str, Value]]) -> str:
    """The first setting that freezes or limits, if one does."""
    return next((file for file, value in settings if stops(file, plain(value))), "")


def why(path: str) -> str:
    """What is wrong with freezing or limiting it, and what lifts that."""
    return f"the node depends on {path}, which it would freeze or limit; limit_node_groups: true lifts this"
