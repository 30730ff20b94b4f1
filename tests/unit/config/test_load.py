# ruff: noqa: E501 (a row of a table stays a row)
import json
import os
import threading
import time
from pathlib import Path

import msgspec
import pytest
from holdfast.config import Overrides, RefusedConfig, attempt, load, main_file, revived
from holdfast.config.document import Source
from holdfast.config.load import MAX_FILES, Environment
from holdfast.config.schema import Settings
from holdfast.errors import ConfigError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.running import PATIENCE_S

ROOT = Environment(0, {}, "/work-dir")
USER = Environment(1000, {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1000"}, "/work-dir")


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def refusal(path, **flags):
    with pytest.raises(ConfigError) as refused:
        load(path, Overrides(**flags), ROOT)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_without_a_file_the_defaults_hold(monkeypatch):
    loaded = load(None, surroundings=Environment(1, {"XDG_CONFIG_HOME": "/nonexistent", "HOME": "/h"}, "/"))
    assert (loaded.sources, loaded.warnings, loaded.short_ids) == ((), (), False)
    assert loaded.settings.metrics == Settings().metrics


def test_a_user_gets_places_of_their_own(write):
    settings = load(write("c.yaml", "{}"), surroundings=USER).settings
    assert (settings.root, settings.state, settings.grpc.address, settings.ttrpc_address) == (
        "/home/u/.local/state/holdfast",
        "/run/user/1000/holdfast",
        "/run/user/1000/holdfast/holdfast.sock",
        "/run/user/1000/holdfast/holdfast.sock.ttrpc",
    )


def test_null_gives_a_user_back_their_own_default(write):
    path = write("c.yaml", "root: null\ngrpc:\ntimeouts:\n")
    settings = load(path, surroundings=USER).settings
    assert (settings.root, settings.grpc.address) == (
        "/home/u/.local/state/holdfast",
        "/run/user/1000/holdfast/holdfast.sock",
    )
    assert settings.timeouts == Settings().timeouts


def test_the_command_line_is_over_every_file(write):
    path = write("c.yaml", "root: /r\nstate: /s\ngrpc: {address: /a}\ndebug: {level: warn}")
    flags = Overrides(root="/r2", state="/s2", address="unix:///a2", level="debug")
    settings = load(path, flags, ROOT).settings
    assert (settings.root, settings.state, settings.grpc.address, settings.debug.level) == (
        "/r2",
        "/s2",
        "/a2",
        "debug",
    )
    assert load(path, Overrides(root="", level=""), ROOT).settings.root == "/r"


def test_a_dry_run_of_the_command_line_is_over_the_plugins_section(write):
    uri = "io.holdfast.placement.v1.rules"
    path = write("c.yaml", f"plugins: {{{uri}: {{dry_run: false, force_dry_run: false}}}}")
    assert load(path, Overrides(dry_run=True), ROOT).settings.plugins[uri] == {"dry_run": False, "force_dry_run": True}


def test_a_bad_flag_is_named_as_the_command_line():
    assert refusal(None, level="loud") == 'command line: debug.level: not a valid logrus Level: "loud"'


def test_a_flag_does_not_hide_a_section_of_the_wrong_type(write):
    path = write("c.yaml", "grpc: 5")
    assert refusal(path, address="/x") == f"{path}:1: grpc: expected a mapping, got 5"


def test_relative_paths_are_the_working_directorys(write):
    path = write(
        "c.yaml", "root: r\nstate: ./s\ntemp: t\ngrpc: {address: 'unix:g.sock'}\ndebug: {address: 'unix://d.sock'}"
    )
    settings = load(path, surroundings=ROOT).settings
    places = (settings.root, settings.state, settings.temp, settings.grpc.address, settings.debug.address)
    assert places == ("/work-dir/r", "/work-dir/s", "/work-dir/t", "/work-dir/g.sock", "/work-dir/d.sock")


def test_files_join_main_then_imports_then_drop_ins_then_their_imports(write, tmp_path):
    main = write("main.yaml", "imports: [x.yaml, 'y*.yaml']\noom_score: 1\ndisabled_plugins: [a.b.c.d]")
    write("x.yaml", "imports: [sub/z.yaml]\noom_score: 2\ntemp: /x\ndisabled_plugins: [a.b.c.d, a.b.c.e]")
    write("y1.yaml", "temp: /y1\nroot: /y1")
    write("conf.d/20.yaml", "root: /20\ndebug: {level: warn}")
    write("conf.d/10.yaml", "root: /10")
    write("conf.d/.hidden.yaml", "nonsense: 1")
    write("conf.d/ignored.txt", "nonsense: 1")
    write("sub/z.yaml", "imports: [../main.yaml]\ndebug: {level: error}\noom_score: 0")
    loaded = load(main, surroundings=ROOT)
    names = [str(path.relative_to(tmp_path)) for path in loaded.sources]
    assert names == ["main.yaml", "x.yaml", "y1.yaml", "conf.d/10.yaml", "conf.d/20.yaml", "sub/z.yaml"]
    settings = loaded.settings
    assert (settings.oom_score, settings.temp, settings.root, settings.debug.level) == (0, "/y1", "/20", "error")
    assert settings.disabled_plugins == ("a.b.c.d", "a.b.c.e")


def test_drop_ins_are_read_without_a_main_file(tmp_path):
    home = tmp_path / "config" / "holdfast"
    (home / "conf.d").mkdir(parents=True)
    (home / "conf.d" / "1.yaml").write_text("oom_score: 5")
    around = Environment(1000, {"HOME": "/h", "XDG_CONFIG_HOME": str(tmp_path / "config")}, "/")
    if os.path.lexists("/etc/holdfast/config.yaml"):
        pytest.skip("this machine has a configuration of its own")
    loaded = load(None, surroundings=around)
    assert (loaded.settings.oom_score, [path.name for path in loaded.sources]) == (5, ["1.yaml"])
    assert loaded.patterns == (f"{home}/config.yaml", f"{home}/conf.d/*.yaml")


def test_a_pattern_that_matches_nothing_is_nothing_and_a_missing_file_is_an_error(write, tmp_path):
    assert load(write("a.yaml", "imports: ['nope/*.yaml']"), surroundings=ROOT).warnings == ()
    path = write("b.yaml", "\nimports: [nope.yaml]")
    missing = f"{tmp_path}/nope.yaml"
    assert (
        refusal(path) == f"{path}:2: imports: failed to load YAML: {missing}: open {missing}: no such file or directory"
    )


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
def test_a_missing_file_that_was_asked_for_is_containerds_sentence(tmp_path, suffix):
    path = f"{tmp_path}/c.{suffix}"
    assert refusal(path) == f"failed to load {suffix.upper()}: {path}: open {path}: no such file or directory"


def test_unreadable_things_are_one_line_each(write, tmp_path):
    empty, blank = write("empty.yaml", ""), write("blank.yaml", "\n  \n")
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    (tmp_path / "huge.yaml").write_bytes(b"# " + b"x" * (1 << 20))
    os.mkfifo(tmp_path / "pipe.yaml")
    lines = {
        empty: f"{empty}: the file is empty; for the defaults leave it out, or write {{}}",
        blank: f"{blank}: the file is empty; for the defaults leave it out, or write {{}}",
        str(tmp_path): f"failed to load YAML: {tmp_path}: open {tmp_path}: is a directory",
        f"{tmp_path}/latin.yaml": f"{tmp_path}/latin.yaml:2: not UTF-8: byte 0xe9 at offset 11",
        f"{tmp_path}/huge.yaml": f"{tmp_path}/huge.yaml: larger than 1048576 bytes; no configuration is",
        f"{tmp_path}/pipe.yaml": f"failed to load YAML: {tmp_path}/pipe.yaml: open {tmp_path}/pipe.yaml: not a regular file",
        "/dev/zero": "failed to load YAML: /dev/zero: open /dev/zero: not a regular file",
        f"{empty}/x.yaml": f"failed to load YAML: {empty}/x.yaml: open {empty}/x.yaml: not a directory",
        "/tmp/\0": "open '/tmp/\\x00': a NUL character",
    }
    assert {path: refusal(path) for path in lines} == lines


def test_only_comments_are_the_defaults_and_a_byte_order_mark_is_no_text(write, tmp_path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfoom_score: 3\n")
    assert load(f"{tmp_path}/bom.yaml", surroundings=ROOT).settings.oom_score == 3
    assert load(write("c.yaml", "# nothing yet\n"), surroundings=ROOT).settings == Settings()


def test_an_empty_toml_file_is_containerds_version_1(write):
    loaded = load(write("c.toml", ""), surroundings=ROOT)
    assert (loaded.settings, loaded.short_ids) == (Settings(), True)


def test_a_document_that_is_no_mapping_is_refused(write):
    path = write("c.yaml", "- a")
    assert refusal(path) == f"{path}:1: expected keys with values, got a list"


def test_yaml_and_toml_mix_and_each_file_has_its_own_version(write):
    main = write(
        "c.toml",
        "version = 2\nimports = ['old.toml', 'none.toml', 'n.yaml']\ndisabled_plugins = ['io.a.v1.b']\nstray = 1",
    )
    write("old.toml", "version = 1\ndisabled_plugins = ['cri']\n[plugins.scheduler]\na = 1")
    write("none.toml", "required_plugins = ['io.a.v1.c']")
    write("n.yaml", "disabled_plugins: [io.a.v1.d]")
    loaded = load(main, surroundings=ROOT)
    assert loaded.settings.disabled_plugins == ("io.a.v1.b", "cri", "io.a.v1.d")
    assert (loaded.settings.required_plugins, loaded.short_ids) == (("io.a.v1.c",), True)
    assert tuple(map(str, loaded.warnings)) == (f'{main}:4: stray: unknown key, ignored; did you mean "state"?',)


def test_a_versionless_import_may_name_plugins_by_short_id(write, tmp_path):
    main = write("c.toml", "version = 2\nimports = ['child.toml']")
    child = Path(write("child.toml", "disabled_plugins = ['cri']"))
    found = load(main, surroundings=ROOT)
    assert (found.settings.disabled_plugins, found.short_ids) == (("cri",), True)
    child.write_text("version = 2\ndisabled_plugins = ['cri']")
    assert refusal(main) == f'{child}:2: disabled_plugins: invalid disabled plugin URI "cri" expect io.containerd.x.vx'


@pytest.mark.parametrize("name", ["extra", "10-nvidia.conf", "a.toml.tmpl", "b.TOML"])
def test_what_a_toml_file_imports_is_toml_whatever_its_name(write, name):
    main = write("c.toml", "version = 2\nimports = ['conf.d/*']")
    write(f"conf.d/{name}", "version = 2\noom_score = 5\n")
    write("conf.d/ours.yaml", "state: /s\n")
    settings = load(main, surroundings=ROOT).settings
    assert (settings.oom_score, settings.state) == (5, "/s")


def test_toml_under_another_name_is_refused_with_the_reason(write):
    path = write("containerd.conf", "version = 2")
    assert refusal(path) == (
        f'{path}:1: expected keys with values, got "version = 2"; the name of containerd\'s TOML ends in .toml'
    )


def test_empty_places_of_an_import_leave_the_importing_files(write):
    main = write("c.toml", "version = 2\nroot = '/r'\nimports = ['more.toml']\n[grpc]\naddress = '/a'\n")
    write("more.toml", "version = 2\nroot = ''\nstate = ''\n[grpc]\naddress = ''\nuid = 4\n")
    found = load(main, surroundings=ROOT).settings
    assert (found.root, found.state, found.grpc.address, found.grpc.uid) == ("/r", "/run/holdfast", "/a", 4)


def test_where_a_key_was_said(write):
    path = write("c.yaml", "grpc:\n  tcp_address: 127.0.0.1:1\n")
    loaded = load(path, Overrides(root="/r"), ROOT)
    assert [loaded.where(key) for key in ("grpc.tcp_address", "root", "state", "metrics.address")] == [
        f"{path}:2",
        "command line",
        "",
        "",
    ]


def test_the_hash_is_of_what_is_in_force_not_of_how_it_was_written(write):
    a = load(write("a.yaml", "grpc: {uid: 5, gid: 6}\ndebug: {level: info}"), surroundings=ROOT)
    b = load(write("b.yaml", "# the same\ngrpc:\n  gid: 6\n  uid: 5\n"), surroundings=ROOT)
    c = load(write("c.yaml", "grpc: {uid: 5, gid: 7}"), surroundings=ROOT)
    assert a.content_hash == b.content_hash != c.content_hash
    assert len(a.content_hash) == 64


def test_too_many_files_are_refused(write):
    for number in range(MAX_FILES + 1):
        write(f"conf.d/{number:05}.yaml", "{}")
    assert refusal(write("c.yaml", "{}")).endswith(f"more than {MAX_FILES} files are imported")


def test_a_configmap_swapped_again_and_again_is_never_read_half(tmp_path):
    def publish(number):
        version = tmp_path / f"..v{number}"
        version.mkdir()
        (version / "config.yaml").write_text(f"imports: [other.yaml]\noom_score: {number}")
        (version / "other.yaml").write_text(f"temp: /{number}")
        os.symlink(version.name, tmp_path / "..tmp")
        os.rename(tmp_path / "..tmp", tmp_path / "..data")
        if number:
            old = tmp_path / f"..v{number - 1}"
            for file in old.iterdir():
                file.unlink()
            old.rmdir()

    publish(0)
    for name in ("config.yaml", "other.yaml"):
        os.symlink(f"..data/{name}", tmp_path / name)
    done = threading.Event()

    swaps = 0

    def swap():
        nonlocal swaps
        while not done.is_set():
            publish(swaps + 1)
            swaps += 1
            done.wait(0.001)

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    deadline = time.monotonic() + PATIENCE_S
    try:
        while swaps < 150 or len(seen) < 2:
            assert time.monotonic() < deadline, "it is never read whole"
            try:
                settings = load(tmp_path / "config.yaml", surroundings=ROOT).settings
            except ConfigError as error:
                assert "changes faster than it can be read" in str(error)  # noqa: PT017
                continue
            assert settings.temp == f"/{settings.oom_score}"
            seen.add(settings.oom_score)
    finally:
        done.set()
        thread.join()


def test_stdin_can_be_a_configuration():
    import subprocess
    import sys

    code = "from holdfast.config import load; print(load('/dev/stdin').settings.oom_score)"
    ran = subprocess.run([sys.executable, "-c", code], input="oom_score: 4", text=True, capture_output=True, check=True)
    assert ran.stdout == "4\n"


names = st.sampled_from(
    [*Settings.__struct_fields__, "x", "level", "address", "uid", "type", "io.a.b.c", "a\nb", "\u2028", "\x1b[2J"]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["/a", "30s", "tcp://x:1"])
)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


@pytest.mark.parametrize("suffix", ["yaml", "toml"])
@given(data=st.dictionaries(names, trees, max_size=5))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_tree_is_settings_or_one_line(tmp_path, suffix, data):
    path = tmp_path / f"c.{suffix}"
    if suffix == "yaml":
        text = msgspec.json.encode(data).decode()
    else:
        text = "".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in data.items())
    path.write_text(text, errors="replace")
    try:
        words = repr(load(path, surroundings=ROOT).settings)
    except ConfigError as error:
        words = str(error)
    assert words.startswith(("Settings(", f"{path}", "failed to load TOML"))
    assert words.isprintable()


def _toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return '""' if value is None else json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")


# -- files that are refused, and what was kept of good ones -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "roots"),
    [
        ("root: /data/hf\ngrpc: [", ("/data/hf", "/var/lib/holdfast")),
        ("grpc: [\nroot: '/data/h f'  # here\n", ("/data/h f", "/var/lib/holdfast")),
        ('{\n"root": "/data/hf",\n"grpc": [', ("/data/hf", "/var/lib/holdfast")),
        ("root: /data/hf\nnonsense: 1", ("/data/hf", "/var/lib/holdfast")),
        ("root: [1]\n", ("/var/lib/holdfast",)),
        ("grpc: {root: /x\n", ("/var/lib/holdfast",)),
        ("", ("/var/lib/holdfast",)),
    ],
)
def test_where_root_may_be_is_known_also_of_a_file_that_is_refused(write, text, roots):
    found = attempt(write("c.yaml", text), surroundings=ROOT)
    assert isinstance(found, RefusedConfig)
    assert found.roots == roots


def test_of_toml_too_and_the_command_line_is_the_last_word(write):
    path = write("c.toml", 'root = "/data/hf"\nversion = [')
    found = attempt(path, surroundings=ROOT)
    assert isinstance(found, RefusedConfig)
    assert found.roots[0] == "/data/hf"
    found = attempt(path, Overrides(root="r"), ROOT)
    assert isinstance(found, RefusedConfig)
    assert found.roots == ("/work-dir/r",)


def test_a_refused_file_and_what_it_imports_are_watched_as_they_were_read(write, tmp_path):
    path = write("c.yaml", f"imports: [{tmp_path}/gone.yaml]")
    found = attempt(path, surroundings=ROOT)
    assert isinstance(found, RefusedConfig)
    assert found.patterns == (path, f"{tmp_path}/gone.yaml")
    assert [bool(stamp) for _, stamp in found.fingerprint] == [True, False]


def test_what_the_files_say_comes_back_from_plain_data_under_another_command_line(write):
    path = write(
        "c.yaml", "imports: [more.yaml]\nroot: /data/hf\ndebug: {level: warn}\nplugins: {io.x.y.v1.z: {a: [1]}}"
    )
    write("more.yaml", "debug: {format: json}")
    loaded = load(path, Overrides(level="trace"), ROOT)
    again = revived(loaded.given.plain(), Source("kept"), Overrides(level="trace"), ROOT)
    assert again.settings == loaded.settings
    assert again.content_hash == loaded.content_hash
    assert revived(loaded.given.plain(), Source("kept"), Overrides(root="/x"), ROOT).settings.root == "/x"
    with pytest.raises(ConfigError, match=r"^kept: nonsense: unknown key"):
        revived({"nonsense": 1}, Source("kept"), surroundings=ROOT)


def test_the_main_file_has_one_name_and_a_stream_has_none():
    assert main_file("x/../c.yaml", ROOT) == "/work-dir/c.yaml"
    assert main_file("/etc/c.yaml", ROOT) == "/etc/c.yaml"
    assert main_file("/dev/stdin", ROOT) == ""
