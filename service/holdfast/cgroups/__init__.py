"""One face over cgroup v1, v2 and the hybrid of both. Start at `face`; `detect` answers what this machine has."""

from holdfast.cgroups.face import UNIFIED, Mode, Tree
from holdfast.cgroups.hierarchy import Hierarchy, detect, see_whole_host
from holdfast.cgroups.membership import groups_of, parse_groups

__all__ = ["UNIFIED", "Hierarchy", "Mode", "Tree", "detect", "groups_of", "parse_groups", "see_whole_host"]
