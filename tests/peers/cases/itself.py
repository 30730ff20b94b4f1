"""The daemon's changes to itself: its oom_score_adj, its cgroup, its user."""

from __future__ import annotations

from tests.peers.case import Case, Seen, refused
from tests.peers.cases.words import SIDE, groups, modes, one_group, score
from tests.peers.daemon import AS_NOBODY

#: As root of a container that was given no CAP_SYS_RESOURCE.
WITHOUT_RESOURCE = ("setpriv", "--inh-caps=-sys_resource", "--bounding-set=-sys_resource")

SELF = (
    *(
        Case(f"oom_{number}", Seen(look=str(number)), top=f"oom_score = {number}", look=score, needs_root=True)
        for number in (500, 1000)
    ),
    *(
        Case(
            f"oom_{number}",
            Seen(
                look="0",
                line=f'level=error msg="failed to change OOM score to {number}" error="value out of range ({number}): '
                "OOM score must be between -1000 and 1000",
            ),
            top=f"oom_score = {number}",
            says=r'level=error msg="failed to change OOM score [^"]*" error="[^"]*',
            look=score,
        )
        for number in (1001, -1001)
    ),
    *(
        Case(
            f"oom_{number}",
            Seen(
                look="0",
                line=f'level=error msg="failed to change OOM score to {number}" '
                'error="write /proc/PID/oom_score_adj: permission denied',
            ),
            top=f"oom_score = {number}",
            prefix=WITHOUT_RESOURCE,  # with the capability: tests/v2/test_apply.py
            says=r'level=error msg="failed to change OOM score [^"]*" error="[^"]*',
            look=score,
            needs_root=True,
        )
        for number in (-500, -999, -1000)
    ),
    Case("oom_0", Seen(look="0"), top="oom_score = 0", look=score, says="OOM score"),
    Case(
        "nobody",
        refused("failed to get listener for main ttrpc endpoint: chown @DIR@/s.sock.ttrpc: operation not permitted"),
        prefix=AS_NOBODY,
        needs_root=True,
    ),
    Case(
        "nobody_oom_down",
        Seen(look="0"),
        top="oom_score = -300",
        grpc="  uid = 65534\n  gid = 65534",
        prefix=AS_NOBODY,
        says="OOM score to -300.*",
        look=score,
        needs_root=True,
    ),
    Case(
        "userns_oom_down",
        Seen(look="0"),
        top="oom_score = -300",
        prefix=("unshare", "--user", "--map-root-user"),
        says="OOM score to -300.*",
        look=score,
        needs_root=True,
    ),
    *(
        Case(
            f"cgroup_{name}",
            Seen(look=one_group(f"/{path.strip('/')}")),
            tables=f'[cgroup]\n path = "{path}"',
            look=groups,
            needs_root=True,
        )
        for name, path in (
            ("new", f"/{SIDE}-new"),
            ("relative", f"{SIDE}-relative"),
            ("nested", f"/{SIDE}-nested/a/b"),
        )
    ),
    *(
        Case(
            f"umask_{mask}",
            Seen(look=f"root 40700, state {state}, sockets 140660 140660"),
            prefix=("sh", "-c", f'umask {mask}; exec "$@"', "sh"),
            look=modes,
            needs_root=True,
        )
        for mask, state in (("0", "40711"), ("077", "40700"))
    ),
    Case(
        "cgroup_nobody",
        refused(f"mkdir /sys/fs/cgroup/systemd/{SIDE}-nobody: permission denied"),
        tables=f'[cgroup]\n path = "/{SIDE}-nobody"',
        prefix=AS_NOBODY,
        needs_root=True,
    ),
)
