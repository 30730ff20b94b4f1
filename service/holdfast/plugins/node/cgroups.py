"""The machine's cgroup hierarchies, for other plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast.cgroups import Hierarchy, Mode, detect, why_not_the_hosts
from holdfast.plugin import InitContext, SkipPlugin, plugin
from holdfast.plugins.kinds import CGROUPS

V1_DEPRECATED = (
    "cgroup v1 is at its end: systemd 258 does not support it, the kubelet refuses to start on it by default since"
    " Kubernetes 1.35, and containerd removes it by May 2029. Boot this host with cgroup v2"
)


@plugin(CGROUPS, "hierarchy")
async def cgroups(context: InitContext) -> AsyncIterator[Hierarchy]:
    """Find the mounted hierarchies; if there are none, or not the host's tree, the daemon serves without cgroups."""
    if why := why_not_the_hosts(context.places.proc_root, context.places.cgroup_root):
        raise SkipPlugin(str(why))
    hierarchy = detect(context.places.proc_root, context.places.cgroup_root)
    context.exports["mode"] = hierarchy.mode
    if hierarchy.mode in (Mode.LEGACY, Mode.HYBRID):
        context.exports["io.containerd.deprecation/cgroup-v1"] = V1_DEPRECATED
    context.capabilities.extend(sorted({name for tree in hierarchy.trees.values() for name in tree.controllers()}))
    yield hierarchy
    hierarchy.close()
