"""The machine's cgroup hierarchies, as other plugins look them up."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast import log
from holdfast.cgroups import Hierarchy, Mode, detect
from holdfast.plugin import InitContext, SkipPlugin, plugin
from holdfast.plugins.kinds import CGROUPS

LOG = log.named(__name__)


@plugin(CGROUPS, "hierarchy")
async def cgroups(context: InitContext) -> AsyncIterator[Hierarchy]:
    """Find what is mounted; a machine without cgroups is served without them."""
    hierarchy = detect(context.places.proc_root, context.places.cgroup_root)
    if hierarchy.mode is Mode.NONE:
        raise SkipPlugin(f"no cgroup file system is mounted at {context.places.cgroup_root}")
    context.exports["mode"] = hierarchy.mode
    context.capabilities.extend(sorted({name for tree in hierarchy.trees.values() for name in tree.controllers()}))
    if not hierarchy.writable:
        LOG.warning("cgroups cannot be written; processes can be seen but not moved", root=context.places.cgroup_root)
    yield hierarchy
    hierarchy.close()
