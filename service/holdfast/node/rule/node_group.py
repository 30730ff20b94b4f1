"""Cgroups that a node depends on: freezing or limiting one stops more than the processes that a rule is about.

They are recognised by the names that systemd, the kubelet and the runtimes give them. A rule may freeze or limit one
only with ``limit_node_groups: true``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.errors import InvalidArgument
from holdfast.node.rule.pattern import compile_pattern
from holdfast.node.rule.quantity import Value
from holdfast.node.rule.setting import plain, stops

#: All services, users, pods or containers are below these.
_SHARED = (
    *("init.scope", "-.slice", "system.slice", "user.slice", "machine.slice", "docker", "lxc", "podruntime.slice"),
    *("runtime.slice", "kubelet.slice", "system-*.slice"),
    *("kubepods", "kubepods.slice", "*-kubepods.slice", "burstable", "besteffort"),
    *("kubepods-burstable.slice", "kubepods-besteffort.slice"),
)
#: Without these nothing starts or stops, and no login is possible.
_DAEMONS = (
    *("containerd", "docker", "dockerd", "crio", "cri-docker", "kubelet", "podman"),
    *("k3s", "k3s-agent", "rke2-server", "rke2-agent", "k0scontroller", "k0sworker", "microk8s"),
    *("systemd-*", "dbus", "dbus-broker", "ssh", "sshd", "NetworkManager"),
)
_NAMES = tuple(map(compile_pattern, (*_SHARED, *(f"{name}.service" for name in _DAEMONS))))


def is_node_group(path: str) -> bool:
    """Whether the node depends on the cgroup ``path``; cgroups below it do not count."""
    name = path.rpartition("/")[2]
    return any(pattern.holds(name) for pattern in _NAMES)


def check_target(path: str, settings: Mapping[str, Value]) -> None:
    """Refuse a target that the node depends on and that the settings would freeze or limit.

    Raises:
        InvalidArgument: names the setting, and the key that lifts the refusal.
    """
    if is_node_group(path) and (file := first_that_stops(settings.items())):
        raise InvalidArgument(f"cgroup.settings: {file}: {why(path)}")


def first_that_stops(settings: Iterable[tuple[str, Value]]) -> str:
    """The first setting that freezes or limits; empty without one."""
    return next((file for file, value in settings if stops(file, plain(value))), "")


def why(path: str) -> str:
    """Return why freezing or limiting ``path`` is refused, and the key that lifts the refusal."""
    return f"the node depends on {path}, which it would freeze or limit; limit_node_groups: true lifts this"
