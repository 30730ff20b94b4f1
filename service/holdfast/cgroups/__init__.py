"""One interface to cgroup v1, v2 and the hybrid of both. Start at `face`; `detect` finds this machine's hierarchies."""

from holdfast.cgroups.face import UNIFIED, Foreign, Mode, Tree, levels, parent
from holdfast.cgroups.hierarchy import Hierarchy, detect, is_below_the_mount, why_not_the_hosts
from holdfast.cgroups.membership import groups_of, is_member, parse_groups

__all__ = [
    "UNIFIED",
    "Foreign",
    "Hierarchy",
    "Mode",
    "Tree",
    "detect",
    "groups_of",
    "is_below_the_mount",
    "is_member",
    "levels",
    "parent",
    "parse_groups",
    "why_not_the_hosts",
]
