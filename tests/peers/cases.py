"""The table: what each daemon shows for the same config.toml. `case.Case` says how to read a row.

A case without ``ours`` asserts that holdfast shows what containerd shows, to the letter. A case with ``ours`` is an
intended difference, and ``docs/containerd-differences.md`` has a row that names it; `test_side_by_side` sees to both.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.peers.case import ALL_OK, SHARED, Case, Seen, ctr, refused
from tests.peers.daemon import AS_NOBODY, Daemon

VERSION = "io.containerd.grpc.v1.version"
EVENTS = "io.containerd.grpc.v1.events"
EXCHANGE = "io.containerd.event.v1.exchange"
INTROSPECTION = "io.containerd.service.v1.introspection-service"
CONFIG = "@DIR@/config.toml"

NOT_OURS = "none of holdfast's"  # a plugin of containerd's that holdfast has no use for


def without(*uris: str) -> str:
    """All shared plugins but these, ok."""
    return " ".join(f"{uri}=ok" for uri in SHARED if uri not in uris)


def disabled(*uris: str) -> str:
    return f"disabled_plugins = {list(uris)!r}"


def required(*uris: str) -> str:
    return f"required_plugins = {list(uris)!r}"


def score(daemon: Daemon) -> str:
    return Path(f"/proc/{daemon.pid}/oom_score_adj").read_text().strip()


def groups(daemon: Daemon) -> str:
    """In which of its groups each v1 hierarchy has it, hierarchies by name; the hybrid's unified one says nothing."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{daemon.pid}/cgroup").read_text().splitlines()]
    return " ".join(sorted(f"{names}={path}" for _, names, path in lines if names))


def version(daemon: Daemon) -> str:
    """How ``ctr version`` fares: its status, which halves it printed, and its error."""
    done = ctr(daemon, "version")
    halves = [half for half in ("Client:", "Server:") if half in done.stdout]
    error = re.sub(r"WARNING: \w+ mismatch\n", "", done.stderr)  # ctr's version is not the server's
    return f"{done.returncode} {' '.join(halves)} {error.strip()}".strip()


def one_group(path: str) -> str:
    mounted = [line.split(":", 2)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    return " ".join(sorted(f"{names}={path}" for names in mounted if names))


PLUGINS = (
    Case("base", Seen()),
    Case(
        "required_missing",
        refused("required plugin [io.containerd.grpc.v1.nosuch] not included"),
        top=required("io.containerd.grpc.v1.nosuch"),
    ),
    Case(
        "required_two_missing",
        refused("required plugin [io.containerd.grpc.v1.nosuch] not included"),
        top=required("io.containerd.grpc.v1.nosuch", VERSION),
    ),
    Case("required_present", Seen(), top=required(VERSION, EVENTS)),
    Case(
        "required_disabled",
        refused(f"required plugin [{VERSION}] not included"),
        top=f"{disabled(VERSION)}\n{required(VERSION)}",
    ),
    Case(
        "required_failed",
        refused(f"load required plugin {EVENTS}: no plugins registered for io.containerd.event.v1: not found"),
        top=f"{disabled(EXCHANGE)}\n{required(EVENTS)}",
    ),
    Case(
        "required_skipped",
        refused(
            "load required plugin io.containerd.snapshotter.v1.aufs: aufs is not supported (modprobe …): skip plugin"
        ),
        top=required("io.containerd.snapshotter.v1.aufs"),
    ),
    Case(
        "disabled",
        Seen(
            plugins=without(VERSION),
            look="1 Client: ctr: rpc error: code = Unimplemented desc = "
            "unknown service containerd.services.version.v1.Version",
        ),
        top=disabled(VERSION),
        look=version,
    ),
    Case(
        "disabled_dependency",
        Seen(
            plugins=without(EXCHANGE).replace(f"{EVENTS}=ok", f"{EVENTS}=error"),
            look="0 Client: Server:",
            line=f'failed to load plugin {EVENTS}" error="no plugins registered for io.containerd.event.v1: not found',
        ),
        top=disabled(EXCHANGE),
        look=version,
        says=rf'failed to load plugin {EVENTS}" error="[^"]*',
    ),
    Case(
        "disabled_introspection",
        Seen(
            plugins="ctr: unknown service containerd.services.introspection.v1.Introspection: not implemented",
            look="1 Client: Server: ctr: unknown service containerd.services.introspection.v1.Introspection: "
            "not implemented",
        ),
        top=disabled(INTROSPECTION),
        look=version,
    ),
    Case("disabled_unknown", Seen(), top=disabled("io.containerd.grpc.v1.nosuch"), says=".*nosuch.*"),
    Case("v1_disabled_short_id", Seen(plugins=without(VERSION)), version="1", top=disabled("version")),
    Case("v1_required_short_id", Seen(), version="1", top=required("version")),
    Case("v1_disabled_uri", Seen(), version="1", top=disabled(VERSION)),
    Case("v1_required_uri", refused(f"required plugin [{VERSION}] not included"), version="1", top=required(VERSION)),
    Case(
        "proxy_ok",
        Seen(look="io.containerd.content.v1 foo - ok"),
        tables='[proxy_plugins.foo]\n type = "content"\n address = "/nobody/listens.sock"',
        look=lambda daemon: " ".join(ctr(daemon, "plugins", "ls", "id==foo").stdout.splitlines()[-1].split()),
    ),
    Case(
        "proxy_unknown",
        refused("panic: plugin: no type", 2),
        tables='[proxy_plugins.foo]\n type = "nonsense"\n address = "/x"',
    ),
    Case(
        "proxy_duplicate",
        refused("panic: io.containerd.content.v1.content: plugin: id already registered", 2),
        tables='[proxy_plugins.content]\n type = "content"\n address = "/x"',
    ),
)

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
    *(
        Case(
            f"cgroup_{name}",
            Seen(look=one_group(f"/holdfast-test-{name}")),
            tables=f'[cgroup]\n path = "{path}"',
            look=groups,
            needs_root=True,
        )
        for name, path in (("new", "/holdfast-test-new"), ("relative", "holdfast-test-relative"))
    ),
    Case(
        "cgroup_nobody",
        refused("mkdir /sys/fs/cgroup/systemd/holdfast-test-nobody: permission denied"),
        tables='[cgroup]\n path = "/holdfast-test-nobody"',
        prefix=AS_NOBODY,
        needs_root=True,
    ),
)

CONFIGURATION = (
    Case("unknown_top", Seen(), top='nonsense = "x"', says=".*nonsense.*"),
    Case("unknown_table", Seen(), tables="[nonsense]\n x = 1", says=".*nonsense.*"),
    Case("unknown_key", Seen(), grpc='  nonsense = "x"', says=".*nonsense.*"),
    Case("unknown_plugin", Seen(), tables='[plugins."io.nonsense.x.v1.x"]\n x = 1', says=".*nonsense.*"),
    Case(
        "wrong_type_number",
        refused("failed to unmarshal TOML: (4, 1): Can't convert high(string) to int"),
        top='oom_score = "high"',
    ),
    Case(
        "wrong_type_list",
        refused("failed to unmarshal TOML: (4, 1): Can't convert x(string) to []string(slice)"),
        top='disabled_plugins = "x"',
    ),
    Case(
        "wrong_type_text",
        refused("failed to unmarshal TOML: (4, 1): Can't convert 5(int64) to string"),
        top="temp = 5",
    ),
    Case(
        "wrong_type_table",
        refused("failed to unmarshal TOML: (4, 1): Can't convert x(string) to config.MetricsConfig"),
        top='metrics = "x"',
    ),
    Case(
        "syntax",
        refused(
            f"failed to load TOML: {CONFIG}: (10, 2): unexpected token unclosed table key, was expecting a table key"
        ),
        tables="[metrics",
    ),
    Case("duplicate_table", refused(f"failed to load TOML: {CONFIG}: (10, 2): duplicated tables"), tables="[grpc]"),
    Case(
        "version_absent", Seen(line="version `1` has been deprecated"), version="0", says="version `1` has.*deprecated"
    ),
    Case(
        "version_negative",
        Seen(line="version `-1` has been deprecated"),
        version="-1",
        says="version `-1` has been deprecated",
    ),
    Case("version_3", Seen(), version="3"),
    Case("version_99", Seen(), version="99"),
    Case(
        "short_id_disabled",
        refused(f'failed to load TOML from {CONFIG}: invalid disabled plugin URI "cri" expect io.containerd.x.vx'),
        top=disabled("cri"),
    ),
    Case(
        "short_id_required",
        refused(f'failed to load TOML from {CONFIG}: invalid required plugin URI "cri" expect io.containerd.x.vx'),
        top=required("cri"),
    ),
    Case(
        "short_id_section",
        refused(f'failed to load TOML from {CONFIG}: invalid plugin key URI "cri" expect io.containerd.x.vx'),
        tables="[plugins.cri]\n x = 1",
    ),
    Case(
        "timeout_words",
        refused("unable to parse soon into a time duration"),
        tables='[timeouts]\n "io.containerd.timeout.task.state" = "soon"',
    ),
    Case(
        "timeout_number",
        refused("failed to unmarshal TOML: (11, 2): Can't convert 5(int64) to string"),
        tables='[timeouts]\n "io.containerd.timeout.task.state" = 5',
    ),
    Case("timeout_unknown", Seen(), tables='[timeouts]\n "io.containerd.timeout.nonsense" = "5s"', says=".*nonsense.*"),
    Case("log_level", refused('not a valid logrus Level: "loud"'), tables='[debug]\n level = "loud"'),
    Case("log_format", refused("unknown log format: xml"), tables='[debug]\n format = "xml"'),
    Case(
        "same_directories",
        refused("root and state must be different paths"),
        arguments=("--root", "@DIR@/x", "--state", "@DIR@/x"),
    ),
    Case(
        "import_missing",
        refused("failed to load TOML: @DIR@/more.toml: open @DIR@/more.toml: no such file or directory"),
        top='imports = ["@DIR@/more.toml"]',
    ),
    Case("import_glob_none", Seen(), top='imports = ["@DIR@/more.d/*.toml"]', says=".*more.d.*"),
    Case(
        "import_later_wins",
        Seen(look="20"),
        top='oom_score = 1\nimports = ["@DIR@/more.d/*.toml"]',
        files={"more.d/10.toml": "oom_score = 10", "more.d/20.toml": "oom_score = 20"},
        look=score,
        needs_root=True,
    ),
    Case(
        "import_lists_append",
        Seen(plugins=without(VERSION, EVENTS)),
        top=f'imports = ["@DIR@/more.toml"]\n{disabled(VERSION)}',
        files={"more.toml": disabled(EVENTS)},
    ),
    Case(
        "import_cycle",
        Seen(look="7"),
        top='imports = ["@DIR@/more.toml"]',
        files={"more.toml": 'imports = ["@DIR@/config.toml"]\noom_score = 7'},
        look=score,
        needs_root=True,
    ),
    Case(
        "import_zero",
        Seen(look="7"),
        top='oom_score = 7\nimports = ["@DIR@/more.toml"]',
        files={"more.toml": "oom_score = 0"},
        look=score,
        needs_root=True,
    ),
    Case(
        "import_relative",
        refused("failed to load TOML: @DIR@/more.toml: open @DIR@/more.toml: no such file or directory"),
        top='imports = ["more.toml"]',
    ),
)


def socket_file(daemon: Daemon) -> str:
    """Modes of the two sockets."""
    paths = (daemon.address, daemon.ttrpc_address)
    return " ".join(f"{Path(path).stat().st_mode:o}" for path in paths)


LISTENERS = (
    Case("socket_mode", Seen(look="140660 140660"), look=socket_file),
    Case(
        "socket_too_long",
        refused(
            f'failed to get listener for main ttrpc endpoint: "/{"x" * 99}.ttrpc": unix socket path too long (> 104)'
        ),
        arguments=("--address", "/" + "x" * 99),
    ),
    Case(
        "socket_is_a_directory",
        refused("failed to get listener for main endpoint: is a directory"),
        files={"s.sock/x": ""},
    ),
    Case("socket_is_a_file", Seen(look="140660 140660"), files={"s.sock": "precious"}, look=socket_file),
    Case(
        "socket_abstract",
        refused("failed to get listener for main ttrpc endpoint: chmod @hf.ttrpc: no such file or directory"),
        arguments=("--address", "@hf"),
    ),
    Case(
        "tcp_address",
        refused("failed to get listener for TCP grpc endpoint: listen tcp: address nonsense: missing port in address"),
        grpc='  tcp_address = "nonsense"',
    ),
    Case(
        "metrics_address",
        refused("failed to get listener for metrics endpoint: listen tcp: address nonsense: missing port in address"),
        tables='[metrics]\n address = "nonsense"',
    ),
    Case(
        "metrics_unix",
        refused(
            "failed to get listener for metrics endpoint: listen tcp: address @DIR@/m.sock: missing port in address"
        ),
        tables='[metrics]\n address = "@DIR@/m.sock"',
    ),
    Case(
        "tls_cert_missing",
        refused("open @DIR@/none.pem: no such file or directory"),
        grpc='  tcp_address = "127.0.0.1:0"\n  tcp_tls_cert = "@DIR@/none.pem"\n  tcp_tls_key = "@DIR@/none.key"',
    ),
    Case(
        "tls_cert_missing_no_tcp",
        refused("open @DIR@/none.pem: no such file or directory"),
        grpc='  tcp_tls_cert = "@DIR@/none.pem"\n  tcp_tls_key = "@DIR@/none.key"',
    ),
)

COMMAND_LINE = (
    Case("flag", refused("flag provided but not defined: -bogus"), arguments=("--bogus",)),
    Case("stray_argument", Seen(), arguments=("bogus",)),
)

CASES = (*PLUGINS, *SELF, *CONFIGURATION, *LISTENERS, *COMMAND_LINE)

__all__ = ["ALL_OK", "CASES"]
