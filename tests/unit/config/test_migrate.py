# ruff: noqa: E501 (a row of a table stays a row)
import msgspec
import pytest
from holdfast.config import load
from holdfast.config.document import Source
from holdfast.config.load import Environment, migrated_file
from holdfast.config.migrate import from_containerd, meanings
from holdfast.config.tomldoc import read_toml
from holdfast.errors import ConfigError

ROOT = Environment(0, {}, "/")
GC = "io.containerd.gc.v1.scheduler"


class Gc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pause_threshold: float = 0.02


KNOWN = {
    GC: Gc,
    "io.containerd.content.v1.content": None,
    "io.containerd.grpc.v1.content": None,
    "io.containerd.grpc.v1.version": None,
}


def taken(text, inherited=0):
    return from_containerd(read_toml(text, Source("c.toml", lenient=True)), inherited)


@pytest.mark.parametrize(
    ("text", "inherited", "version"),
    [
        ("", 0, 1),
        ("version = 0", 0, 1),
        ("version = -1", 0, 1),
        ("version = 1", 2, 1),
        ("version = 2", 0, 2),
        ("version = 3", 0, 3),
        ("version = 4", 0, 4),
        ("", 2, 2),
    ],
)
def test_a_file_has_its_own_version_or_that_of_who_imports_it(text, inherited, version):
    tree, found, warnings = taken(text + "\nroot = '/r'", inherited)
    assert (found, tree.plain(), warnings) == (version, {"root": "/r"}, [])
    assert tree.at(("root",)).source.short_ids is (version == 1 or not text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "version = 5",
            "c.toml:1: version: containerd's configuration version 5 is not supported; write version 4 or YAML",
        ),
        ("version = '2'", 'c.toml:1: version: expected an integer between 1 and 4, got "2"'),
        ("version = true", "c.toml:1: version: expected an integer between 1 and 4, got true"),
    ],
)
def test_a_version_we_do_not_know_is_refused(text, words):
    with pytest.raises(ConfigError) as refused:
        taken(text)
    assert str(refused.value) == words


def test_keys_without_a_counterpart_are_dropped_and_said():
    tree, _, warnings = taken("version = 2\nplugin_dir = '/x'\n[stream_processors.x]\naccepts = []\n")
    assert tree.plain() == {}
    assert list(map(str, warnings)) == [
        "c.toml:2: plugin_dir: ignored: plugins are Python entry points (group holdfast.plugins)",
        "c.toml:3: stream_processors: ignored: there are no stream processors",
    ]
    assert taken("plugin_dir = ''\n[stream_processors]\n")[2] == []


def test_a_negative_size_is_grpcs_own_limit():
    tree, _, warnings = taken("[grpc]\nmax_recv_message_size = -1\nmax_send_message_size = 5")
    assert tree.plain() == {"grpc": {"max_recv_message_size": 0, "max_send_message_size": 5}}
    assert list(map(str, warnings)) == [
        "c.toml:2: grpc.max_recv_message_size: -1 means gRPC's own limit, as 0 does here"
    ]


def test_a_proxys_type_may_be_a_whole_uri():
    text = "[proxy_plugins.a]\ntype = 'io.containerd.snapshotter.v1'\naddress = '/a'\n[proxy_plugins.b]\ntype = 'content'\naddress = '/b'"
    proxies = taken(text)[0].plain()["proxy_plugins"]
    assert {name: proxy["type"] for name, proxy in proxies.items()} == {"a": "snapshot", "b": "content"}


@pytest.mark.parametrize(
    ("text", "plain", "warning"),
    [
        (
            "[grpc]\nmax_send_message_size = 4294967296",
            {"grpc": {"max_send_message_size": 2147483647}},
            "grpc.max_send_message_size: 4294967296 is taken as 2147483647, gRPC's largest",
        ),
        ("[timeouts]\n'a.b' = '-5s'", {"timeouts": {}}, 'timeouts."a.b": ignored: "-5s" is negative'),
        (
            "[proxy_plugins]\nx = {type = 'snapshot'}",
            {"proxy_plugins": {}},
            "proxy_plugins.x: ignored: it has no address",
        ),
    ],
)
def test_what_containerd_accepts_and_we_cannot_use_is_a_warning(text, plain, warning):
    tree, _, warnings = taken(text)
    assert (tree.plain(), list(map(str, warnings))) == (plain, [f"c.toml:2: {warning}"])


@pytest.mark.parametrize(
    ("name", "uris"),
    [
        ("content", ["io.containerd.content.v1.content", "io.containerd.grpc.v1.content"]),
        ("scheduler", [GC]),
        ("cri", ["io.containerd.grpc.v1.cri"]),
        ("overlayfs", ["io.containerd.snapshotter.v1.overlayfs"]),
        ("diff-service", ["io.containerd.service.v1.diff-service"]),
        ("nobody", ["io.containerd.grpc.v1.nobody"]),
        ("io.containerd.grpc.v1.cri", ["io.containerd.grpc.v1.cri"]),
    ],
)
def test_a_short_id_means_every_plugin_here_or_what_containerd_called_it(name, uris):
    assert meanings(name, KNOWN) == uris


V1 = """root = "/r"
oom_score = 1001
stray = 1
disabled_plugins = ["content", "cri"]
required_plugins = ["scheduler", "missing"]
imports = ["more.toml"]
[timeouts]
"io.containerd.timeout.task.state" = "2s"
[plugins.scheduler]
pause_threshold = 0.3
deletion_threshold = 4
[plugins.cri]
x = 1
"""

MIGRATED = """# From {path}
#   line 2: oom_score: dropped: 1001 is out of range, and was never applied
#   line 3: stray: dropped: unknown key
#   line 4: disabled_plugins: cri: dropped: no such plugin here
#   line 5: required_plugins: io.containerd.grpc.v1.missing is not here, so the daemon will refuse to start
#   line 6: imports: more.toml: read as TOML; migrate it too
#   line 11: plugins."io.containerd.gc.v1.scheduler".deletion_threshold: dropped: unknown key
#   line 12: plugins."cri": dropped: no plugin here reads it
version: 2
root: /r
disabled_plugins: [io.containerd.content.v1.content, io.containerd.grpc.v1.content]
required_plugins: [io.containerd.gc.v1.scheduler, io.containerd.grpc.v1.missing]
imports: [more.toml]
timeouts:
  io.containerd.timeout.task.state: 2s
plugins:
  io.containerd.gc.v1.scheduler:
    pause_threshold: 0.3
"""


def test_version_1_becomes_yaml_with_a_word_on_all_that_was_not_taken_over(tmp_path):
    (tmp_path / "c.toml").write_text(V1)
    (tmp_path / "more.toml").write_text("")
    text = migrated_file(f"{tmp_path}/c.toml", KNOWN)
    lines, expected = text.splitlines(), MIGRATED.format(path=f"{tmp_path}/c.toml").splitlines()
    assert sorted(lines[1:8]) == sorted(expected[1:8])
    assert [lines[0], *lines[8:]] == [expected[0], *expected[8:]]


def test_what_was_migrated_loads_to_the_same_settings(tmp_path):
    (tmp_path / "c.toml").write_text(
        "version = 2\nroot = '/r'\nstate = \"/s \\u00e9 \\\"q\\\"\"\n[grpc]\naddress = '/a'\nmax_recv_message_size = 5\n"
        "[debug]\nlevel = 'debug'\n[metrics]\naddress = ''\n[timeouts]\n'io.x.y' = '1h'\n"
        "[proxy_plugins.p]\ntype = 'snapshot'\naddress = '/p'\n"
        f"[plugins.'{GC}']\npause_threshold = 0.1\n"
    )
    (tmp_path / "c.yaml").write_text(migrated_file(f"{tmp_path}/c.toml", KNOWN))
    before, after = (load(tmp_path / name, surroundings=ROOT) for name in ("c.toml", "c.yaml"))
    assert before.settings == after.settings
    assert after.warnings == ()


def test_containerds_own_places_are_pointed_out(tmp_path):
    (tmp_path / "c.toml").write_text("root = '/var/lib/containerd'")
    assert "are containerd's own; change them if it runs on this machine too" in migrated_file(f"{tmp_path}/c.toml", {})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("c.yaml", "root: /x", "c.yaml: not containerd's TOML; what is YAML needs no migration"),
        ("c.toml", "root = 5", 'c.toml:1: root: expected a string, got 5; did you mean "5", in quotes?'),
        ("c.toml", "[plugins.scheduler]\npause_threshold = 'x'", 'c.toml:2: plugins."io.containerd.gc.v1.scheduler".pause_threshold: expected a number, got "x"'),
        ("c.toml", "[debug]\nlevel = 'loud'", 'c.toml:2: debug.level: not a valid logrus Level: "loud"'),
    ],
)  # fmt: skip
def test_what_could_not_be_loaded_is_not_migrated(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as refused:
        migrated_file(f"{tmp_path}/{name}", KNOWN)
    assert str(refused.value) == f"{tmp_path}/{words}"
