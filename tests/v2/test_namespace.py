"""A container of its own cgroup namespace with the host's tree mounted: what a DaemonSet's pod is."""

import os
import subprocess
import sys

from holdfast.cgroups import UNIFIED

CODE = """
from holdfast.cgroups import detect, groups_of
from holdfast.server.self_limits import see_whole_host
print(groups_of("self", "/proc")[""], groups_of(PARENT, "/proc")[""])
print(see_whole_host("/proc", "/sys/fs/cgroup"))
print(groups_of("self", "/proc")[""], groups_of(PARENT, "/proc")[""])
print(see_whole_host("/proc", "/sys/fs/cgroup"), detect("/proc", "/sys/fs/cgroup").tree("").exists(GROUP))
"""


def test_the_hosts_names_are_seen_after_entering_its_namespace(hierarchy, group):
    tree = hierarchy.tree(UNIFIED)
    tree.create(group)
    code = CODE.replace("PARENT", str(os.getpid())).replace("GROUP", repr(group))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = f'echo $$ > {tree.at(group)}/cgroup.procs && exec unshare -C "$@"'
    command = ["sh", "-c", script, "sh", sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (run.stdout.split("\n"), run.stderr) == (["/ /..", "True", f"{group} /", "False True", ""], "")
