"""Outcomes of containerd 2.3 with the same files, where they differ from those of 1.6."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.peers.case import Seen, refused
from tests.peers.cases.configuration import CONFIGURATION
from tests.peers.cases.itself import SELF
from tests.peers.cases.listeners import COMMAND_LINE, LISTENERS
from tests.peers.cases.plugins import PLUGINS
from tests.peers.cases.words import CONFIG, EVENTS, NEED_CONTENT, NEED_EXCHANGE, VERSION, without


def as_newer(seen: Seen) -> Seen:
    """The view of 1.6 as 2.3 has it where nothing else differs: leases are a plugin of another type there."""
    return replace(seen, plugins=re.sub(r" io\.containerd\.service\.v1\.leases-service=\w+", "", seen.plugins))


THEIRS = {case.name: as_newer(case.theirs) for case in (*PLUGINS, *SELF, *CONFIGURATION, *LISTENERS, *COMMAND_LINE)}
SERVES = as_newer(Seen())


def line(case: str, words: str) -> Seen:
    """It ends as 1.6 does, with other words."""
    return replace(THEIRS[case], line=words)


def warned(case: str, key: str, row: int, column: int) -> Seen:
    """It warns of an unknown key, where 1.6 is silent."""
    return line(
        case,
        f'level=warning msg="Ignoring unknown key in TOML" column={column} error="strict mode: fields in the document'
        f' are missing in the target struct" file={CONFIG} key={key} row={row}',
    )


def untyped(case: str, row: int, column: int, kind: str, field: str, go: str) -> Seen:
    """A value of the wrong type is refused with Go's words for both."""
    return line(
        case,
        f"failed to unmarshal TOML at row {row} column {column}: "
        f"toml: cannot decode TOML {kind} into struct field config.Config.{field} of type {go}",
    )


IN_23: dict[str, Seen] = {
    # Plugins
    "required_failed": line(
        "required_failed",
        f"load required plugin {EVENTS}: no plugins registered for io.containerd.event.v1.exchange: plugin: not found",
    ),
    "required_skipped": refused("required plugin [io.containerd.snapshotter.v1.aufs] not included"),
    "disabled_dependency": replace(
        THEIRS["disabled_dependency"],
        line='error="no plugins registered for io.containerd.event.v1: plugin: not found',
        plugins=as_newer(
            Seen(plugins=without("io.containerd.event.v1.exchange", failed=(*NEED_EXCHANGE, *NEED_CONTENT)))
        ).plugins,
    ),
    "v1_disabled_short_id_of_two": as_newer(Seen(plugins=without("io.containerd.grpc.v1.content"))),
    "v1_disabled_uri": as_newer(Seen(plugins=without(VERSION))),
    "v1_required_uri": SERVES,
    "proxy_ok": as_newer(
        Seen(plugins=without(failed=NEED_CONTENT), look="io.containerd.content.v1 foo linux/amd64 ok")
    ),
    # Configuration
    "unknown_top": warned("unknown_top", "nonsense", 4, 1),
    "unknown_table": warned("unknown_table", "nonsense", 10, 2),
    "unknown_key": warned("unknown_key", '"grpc nonsense"', 7, 3),
    "unknown_plugin_key": line(
        "unknown_plugin_key",
        'level=warning msg="Ignoring unknown key in TOML for plugin" error="strict mode: fields in the document'
        ' are missing in the target struct" key=nonsense plugin=io.containerd.gc.v1.scheduler',
    ),
    "plugin_dir": warned("plugin_dir", "plugin_dir", 4, 1),
    "wrong_type_number": untyped("wrong_type_number", 4, 13, "string", "OOMScore", "int"),
    "wrong_type_list": untyped("wrong_type_list", 4, 20, "string", "DisabledPlugins", "[]string"),
    "wrong_type_text": untyped("wrong_type_text", 4, 8, "integer", "TempDir", "string"),
    "wrong_type_table": untyped("wrong_type_table", 4, 11, "string", "Metrics", "config.MetricsConfig"),
    "wrong_type_root": untyped("wrong_type_root", 1, 8, "integer", "Root", "string"),
    "wrong_type_grpc": untyped("wrong_type_grpc", 1, 8, "string", "GRPC", "config.GRPCConfig"),
    "wrong_type_version": untyped("wrong_type_version", 1, 11, "string", "Version", "int"),
    "wrong_type_plugin": line(
        "wrong_type_plugin",
        "toml: cannot decode TOML string into struct field scheduler.config.MutationThreshold of type int",
    ),
    "syntax": line("syntax", "failed to unmarshal TOML at row 10 column 9: toml: expected character ]"),
    "duplicate_table": line("duplicate_table", "failed to unmarshal TOML: toml: table grpc already exists"),
    "version_absent": SERVES,
    "version_0": SERVES,
    "version_negative": refused("panic: runtime error: index out of range [-1]", 2),
    "version_99": refused(
        f"failed to load TOML from {CONFIG}: expected containerd config version equal to or less than `4`, got `99`"
    ),
    "short_id_section": SERVES,
    "timeout_number": untyped("timeout_number", 11, 39, "integer", "Timeouts", "map[string]string"),
    "import_missing": line("import_missing", "open @DIR@/more.toml: no such file or directory"),
    "import_relative": line("import_relative", "open @DIR@/more.toml: no such file or directory"),
    "import_relative_glob": replace(SERVES, look="10"),
    "import_same_entry": replace(THEIRS["import_same_entry"], look=f"{[VERSION]}"),
    "import_section": replace(SERVES, look="5 9"),
    "import_dumped": replace(SERVES, look="['/etc/containerd/conf.d/*.toml', '@DIR@/more.toml']"),
    # Listeners
    "address_flag": replace(SERVES, look="s.sock x.sock.ttrpc"),
    "socket_too_long": refused(
        f"failed to get listener for main ttrpc endpoint: failed to create unix socket on /{'x' * 99}.ttrpc: "
        f'"/{"x" * 99}.ttrpc": unix socket path too long (> 104)'
    ),
    "socket_is_a_directory": refused(
        "failed to get listener for main endpoint: failed to create unix socket on @DIR@/s.sock: is a directory"
    ),
    "socket_abstract": refused("failed to get listener for main endpoint: chmod @hf: no such file or directory"),
    "tcp_address": SERVES,
    "tcp_plain": replace(SERVES, look="no listener"),
    "tls_cert_missing": SERVES,
    "tls_cert_missing_no_tcp": SERVES,
    # Command line
    "stray_argument": refused("No help topic for 'bogus'", 3),
}
