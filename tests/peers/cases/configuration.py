"""Keys, types, versions, timeouts, imports."""

from __future__ import annotations

from tests.peers.case import Case, Seen, refused
from tests.peers.cases.looks import dumped
from tests.peers.cases.words import (
    CONFIG,
    EVENTS,
    NEED_SCHEDULER,
    SCHEDULER,
    VERSION,
    disabled,
    required,
    score,
    without,
)

SECTION = f'[plugins."{SCHEDULER}"]'
BAD_SECTION = f'{SECTION}\n mutation_threshold = "many"'

CONFIGURATION = (
    Case("unknown_top", Seen(), top='nonsense = "x"', says=r"level=\w+ msg=.*nonsense.*"),
    Case("unknown_table", Seen(), tables="[nonsense]\n x = 1", says=r"level=\w+ msg=.*nonsense.*"),
    Case("unknown_key", Seen(), grpc='  nonsense = "x"', says=r"level=\w+ msg=.*nonsense.*"),
    Case("unknown_plugin", Seen(), tables='[plugins."io.nonsense.x.v1.x"]\n x = 1', says=r"level=\w+ msg=.*nonsense.*"),
    Case("unknown_plugin_key", Seen(), tables=f"{SECTION}\n nonsense = 1", says=r"level=\w+ msg=.*nonsense.*"),
    Case("plugin_dir", Seen(), top='plugin_dir = "@DIR@/so"', says=r"level=\w+ msg=.*plugin_dir.*"),
    Case(
        "stream_processors",
        Seen(),
        tables='[stream_processors.x]\n accepts = ["a/b"]\n returns = "c/d"\n path = "/bin/cat"',
        says=r"level=\w+ msg=.*stream_processors.*",
    ),
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
    *(
        Case(
            f"wrong_type_{key}",
            refused(f"failed to unmarshal TOML: (1, 1): Can't convert {words}"),
            files={"other.toml": line},
            arguments=("--config", "@DIR@/other.toml"),  # the last one counts
        )
        for key, line, words in (
            ("root", "root = 5", "5(int64) to string"),
            ("grpc", 'grpc = "x"', "x(string) to config.GRPCConfig"),
        )
    ),
    Case(
        "wrong_type_version",
        refused("failed to unmarshal TOML: (1, 1): Can't convert 2(string) to int"),
        version='"2"',
    ),
    Case("wrong_type_plugin", refused("(11, 2): Can't convert many(string) to int"), tables=BAD_SECTION),
    Case(
        "wrong_type_disabled_plugin",
        Seen(plugins=without(SCHEDULER, failed=NEED_SCHEDULER)),
        top=disabled(SCHEDULER),
        tables=BAD_SECTION,
    ),
    Case(
        "syntax",
        refused(
            f"failed to load TOML: {CONFIG}: (10, 2): "
            "unexpected token table key cannot contain ']', was expecting a table key"
        ),
        tables="[metrics",
    ),
    Case("duplicate_table", refused(f"failed to load TOML: {CONFIG}: (10, 2): duplicated tables"), tables="[grpc]"),
    *(
        Case(name, Seen(line="version `1` has been deprecated"), version=version, says="version `1` has.*deprecated")
        for name, version in (("version_absent", ""), ("version_0", "0"))
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
    Case(
        "timeout_unknown",
        Seen(),
        tables='[timeouts]\n "io.containerd.timeout.nonsense" = "5s"',
        says=r"level=\w+ msg=.*nonsense.*",
    ),
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
    Case(
        "import_relative_glob",
        Seen(look="0"),
        top='imports = ["more.d/*.toml"]',
        files={"more.d/10.toml": "oom_score = 10"},
        cwd="/",
        look=score,
        needs_root=True,
    ),
    Case(
        "import_relative_glob_from_here",
        Seen(look="10"),
        top='imports = ["more.d/*.toml"]',
        files={"more.d/10.toml": "oom_score = 10"},
        look=score,
        needs_root=True,
    ),
    Case(
        "import_same_entry",
        Seen(plugins=without(VERSION), look=f"{[VERSION, VERSION]}"),
        top=f'imports = ["@DIR@/more.toml"]\n{disabled(VERSION)}',
        files={"more.toml": disabled(VERSION)},
        look=dumped("disabled_plugins"),
    ),
    Case(
        "import_section",
        Seen(look="0 9"),
        top='imports = ["@DIR@/more.toml"]',
        tables=f"{SECTION}\n deletion_threshold = 5\n mutation_threshold = 7",
        files={"more.toml": f"{SECTION}\n mutation_threshold = 9"},
        look=dumped(f"plugins/{SCHEDULER}/deletion_threshold", f"plugins/{SCHEDULER}/mutation_threshold"),
    ),
    Case(
        "import_dumped",
        Seen(look="['@DIR@/config.toml', '@DIR@/more.toml']"),
        top='imports = ["@DIR@/more.toml"]',
        files={"more.toml": ""},
        look=dumped("imports"),
    ),
)
