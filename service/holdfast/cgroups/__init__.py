"""One interface to cgroup v1, v2 and the hybrid of both.

- `face`: the interface of one hierarchy; start here
- `hierarchy`: all hierarchies of this machine, and `detect`, which finds them
- `v1`, `v2`: a hierarchy of either version
- `membership`: the groups of a process
- `files`: reads and writes of a cgroup's files, and the meaning of their errors
- `beneath`: opens files below a mount, and never outside it
"""

from holdfast.cgroups.face import UNIFIED, Foreign, Mode, Need, Tree, levels, parent
from holdfast.cgroups.hierarchy import Hierarchy, detect, is_below_the_mount, why_not_the_hosts
from holdfast.cgroups.membership import groups_of, is_member, parse_groups

__all__ = [
    "UNIFIED",
    "Foreign",
    "Hierarchy",
    "Mode",
    "Need",
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
