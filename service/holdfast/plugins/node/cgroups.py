"""The machine's cgroup hierarchies, for other plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast.cgroups import Hierarchy, detect, why_not_the_hosts
from holdfast.plugin import InitContext, SkipPlugin, plugin
from holdfast.plugins.kinds import CGROUPS


@plugin(CGROUPS, "hierarchy")
async def cgroups(context: InitContext) -> AsyncIterator[Hierarchy]:
    """Find the mounted hierarchies; if there are none, or not the host's tree, the daemon serves without cgroups."""
    if why := why_not_the_hosts(context.places.proc_root, context.places.cgroup_root):
        raise SkipPlugin(str(why))
    hierarchy = detect(context.places.proc_root, context.places.cgroup_root)
    context.exports["mode"] = hierarchy.mode
    context.capabilities.extend(sorted({name for tree in hierarchy.trees.values() for name in tree.controllers()}))
    yield hierarchy
    hierarchy.close()
