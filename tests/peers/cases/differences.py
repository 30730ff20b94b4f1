"""The intended differences. Each name is a case, and is named in docs/containerd-differences.md."""

from __future__ import annotations

from dataclasses import replace

from tests.peers.case import Seen, refused
from tests.peers.cases.configuration import CONFIGURATION
from tests.peers.cases.itself import SELF
from tests.peers.cases.listeners import COMMAND_LINE, LISTENERS
from tests.peers.cases.plugins import PLUGINS
from tests.peers.cases.words import (
    CONFIG,
    EXCHANGE,
    NEED_CONTENT,
    NEED_EXCHANGE,
    NEED_SCHEDULER,
    SIDE,
    VERSION,
    without,
)

THEIRS = {case.name: case.theirs for case in (*PLUGINS, *SELF, *CONFIGURATION, *LISTENERS, *COMMAND_LINE)}
TASK_STATE = 'timeouts."io.containerd.timeout.task.state"'
NO_INTROSPECTION = (
    "ctr: unknown service containerd.services.introspection.v1.Introspection (plugin "
    "io.containerd.grpc.v1.introspection failed: no io.containerd.service.v1 plugins with id "
    "introspection-service: not found): not implemented"
)


def warned(case: str, words: str) -> Seen:
    """It serves as containerd does, but not in silence."""
    return replace(THEIRS[case], line=f'level=warning msg="{words}"')


def at(line: int, words: str) -> Seen:
    """It refuses a configuration by file, line and key."""
    return refused(f"{CONFIG}:{line}: {words}")


OURS: dict[str, Seen] = {
    # Plugins
    "required_skipped": refused("required plugin [io.containerd.snapshotter.v1.aufs] not included"),
    "disabled_introspection": Seen(plugins=NO_INTROSPECTION, look=f"1 Client: Server: {NO_INTROSPECTION}"),
    "disabled_dependency": replace(
        THEIRS["disabled_dependency"],
        plugins=without(EXCHANGE, failed=("gc.v1.scheduler", *NEED_EXCHANGE, *NEED_SCHEDULER)),
    ),
    "disabled_unknown": warned(
        "disabled_unknown",
        "disabled_plugins: there is no plugin io.containerd.grpc.v1.nosuch;"
        r" did you mean \"io.containerd.grpc.v1.events\"?",
    ),
    "v1_disabled_uri": Seen(plugins=without(VERSION)),
    "v1_required_uri": Seen(),
    "proxy_ok": replace(THEIRS["proxy_ok"], plugins=without(failed=NEED_CONTENT)),
    "proxy_unknown": at(
        11, 'proxy_plugins.foo.type: expected "content", "diff", "sandbox" or "snapshot", got "nonsense"'
    ),
    "proxy_duplicate": refused(
        "io.containerd.content.v1.content: plugin: id already registered"
        " (by holdfast.plugins.containerd.metadata.content, again by proxy_plugins.content)"
    ),
    # The daemon itself
    "nobody": Seen(),
    "umask_077": Seen(look="root 40700, state 40711, sockets 140660 140660"),
    "cgroup_nobody": refused(
        f"mkdir /sys/fs/cgroup/cpu/{SIDE}-nobody: permission denied; root, or a delegated directory, is needed"
    ),
    # Configuration
    "unknown_top": warned("unknown_top", "@DIR@/config.toml:4: nonsense: unknown key, ignored"),
    "unknown_table": warned("unknown_table", "@DIR@/config.toml:10: nonsense: unknown key, ignored"),
    "unknown_key": warned("unknown_key", "@DIR@/config.toml:7: grpc.nonsense: unknown key, ignored"),
    "unknown_plugin": warned(
        "unknown_plugin",
        "@DIR@/config.toml:8: plugins: ignoring the sections of plugins that are not here:"
        " io.containerd.internal.v1.opt, io.nonsense.x.v1.x, io.containerd.nri.v1.nri",
    ),
    "unknown_plugin_key": warned(
        "unknown_plugin_key",
        r"@DIR@/config.toml:11: plugins.\"io.containerd.gc.v1.scheduler\".nonsense: unknown key, ignored",
    ),
    "plugin_dir": warned(
        "plugin_dir",
        "@DIR@/config.toml:4: plugin_dir: ignored: plugins are Python entry points (group holdfast.plugins)",
    ),
    "stream_processors": warned(
        "stream_processors",
        "@DIR@/config.toml:10: stream_processors: ignored: there are no stream processors",
    ),
    "wrong_type_number": at(4, 'oom_score: expected an integer between -1000 and 1000, got "high"'),
    "wrong_type_list": at(4, 'disabled_plugins: expected a list of strings, got "x"'),
    "wrong_type_text": at(4, 'temp: expected a string, got 5; did you mean "5", in quotes?'),
    "wrong_type_table": at(4, 'metrics: expected a mapping, got "x"'),
    "wrong_type_root": refused('@DIR@/other.toml:1: root: expected a string, got 5; did you mean "5", in quotes?'),
    "wrong_type_grpc": refused('@DIR@/other.toml:1: grpc: expected a mapping, got "x"'),
    "wrong_type_version": at(1, 'version: expected an integer between 1 and 4, got "2"'),
    "wrong_type_plugin": at(
        11, 'plugins."io.containerd.gc.v1.scheduler".mutation_threshold: expected an integer, got "many"'
    ),
    "syntax": refused(f"failed to load TOML: {CONFIG}:10: Expected ']' at the end of a table declaration (column 9)"),
    "duplicate_table": refused(f"failed to load TOML: {CONFIG}:10: Cannot declare ('grpc',) twice (column 6)"),
    "version_absent": Seen(),
    "version_0": Seen(),
    "version_negative": Seen(),
    "version_99": at(1, "version: containerd's configuration version 99 is not supported; write version 4 or YAML"),
    "short_id_disabled": at(4, 'disabled_plugins: invalid disabled plugin URI "cri" expect io.containerd.x.vx'),
    "short_id_required": at(4, 'required_plugins: invalid required plugin URI "cri" expect io.containerd.x.vx'),
    "short_id_section": at(10, 'plugins: invalid plugin key URI "cri" expect io.containerd.x.vx'),
    "timeout_words": at(
        11, f'{TASK_STATE}: unable to parse soon into a time duration; expected a duration such as "30s" or "1h2m"'
    ),
    "timeout_number": at(11, f'{TASK_STATE}: expected a duration such as "30s" or "1h2m", got 5; did you mean "5s"?'),
    "log_level": at(11, 'debug.level: not a valid logrus Level: "loud"'),
    "log_format": at(11, "debug.format: unknown log format: xml"),
    "same_directories": refused("command line: state: root and state must be different paths"),
    "import_missing": at(
        4, "imports: failed to load TOML: @DIR@/more.toml: open @DIR@/more.toml: no such file or directory"
    ),
    "import_relative": at(
        4, "imports: failed to load TOML: @DIR@/more.toml: open @DIR@/more.toml: no such file or directory"
    ),
    "import_zero": Seen(look="0"),
    "import_relative_glob": Seen(look="10"),
    "import_same_entry": replace(THEIRS["import_same_entry"], look=f"{[VERSION]}"),
    "import_section": Seen(look="5 9"),
    "import_dumped": Seen(look="[]"),
    # Listeners
    "tcp_plain": Seen(look="OK OK"),
    "metrics": Seen(look="/metrics 200, /v1/metrics 200, no histogram"),
    "metrics_histogram": Seen(look="/metrics 200, /v1/metrics 200, histogram"),
    "socket_too_long": refused(
        f'@DIR@/more.toml:3: grpc.address: "/{"x" * 99}.ttrpc": unix socket path too long (> 104)'
    ),
    "socket_is_a_directory": refused("failed to get listener for main endpoint: @DIR@/s.sock: is a directory"),
    "socket_is_a_file": refused(
        "failed to get listener for main endpoint: @DIR@/s.sock: exists and is not a socket; remove it"
    ),
    "socket_abstract": refused(
        'command line: grpc.address: "@hf": an abstract socket has no owner and no mode; give a path'
    ),
    "tcp_address": at(7, "grpc.tcp_address: listen tcp: address nonsense: missing port in address"),
    "metrics_address": at(11, "metrics.address: listen tcp: address nonsense: missing port in address"),
    "metrics_unix": at(11, "metrics.address: listen tcp: address @DIR@/m.sock: missing port in address"),
    "tls_cert_missing": refused("grpc.tcp_tls_cert: open @DIR@/none.pem: no such file or directory"),
    "tls_cert_missing_no_tcp": refused("grpc.tcp_tls_cert: open @DIR@/none.pem: no such file or directory"),
    # Command line
    "flag": refused("Error: No such option '--bogus'.", 2),
    "stray_argument": refused("Error: Got unexpected extra argument (bogus)", 2),
}
