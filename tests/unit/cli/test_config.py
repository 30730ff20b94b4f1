# ruff: noqa: E501 (a row of a table stays a row)
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from holdfast.cli.main import call
from holdfast.config import Duration, load
from holdfast.plugin import Kind, Remark, plugin
from msgspec import Meta

GC = "io.containerd.gc.v1.scheduler"


class Gc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    delay: Annotated[Duration, Meta(ge=0, description="before the first run")] = 0.1


def long_delays(config):
    if config.delay > 60:
        yield Remark(("delay",), "more than a minute")


def from_seconds(version, section):
    """Until version 3 the delay was a number of seconds under another name."""
    return {"delay": f"{section['delay_seconds']}s"} if "delay_seconds" in section else section


@plugin(Kind("io.containerd.gc.v1"), "scheduler", config=Gc, remarks=long_delays, config_migration=from_seconds)
async def gc(context):
    yield


@plugin(Kind("io.containerd.grpc.v1"), "version")
async def version(context):
    yield


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr("holdfast.plugins.installed", lambda disabled=(): [gc, version])


@contextmanager
def stdin(text):
    with tempfile.TemporaryFile() as file, open(os.dup(0), "rb") as before:
        file.write(text.encode())
        file.seek(0)
        os.dup2(file.fileno(), 0)
        try:
            yield
        finally:
            os.dup2(before.fileno(), 0)


@pytest.fixture
def config(capsys, tmp_path):
    def config(*arguments, text=None, name="c.yaml"):
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        code = call(["config", *(str(path) if one == "FILE" else one for one in arguments)])
        out, err = capsys.readouterr()
        return code, out.replace(str(path), "FILE"), err.replace(str(path), "FILE")

    return config


def test_the_default_can_be_used_as_it_is(config, tmp_path):
    code, out, _ = config("default")
    (tmp_path / "d.yaml").write_text(out)
    assert code == 0
    assert load(tmp_path / "d.yaml").settings.plugins == {GC: {"delay": "100ms"}}


def test_a_good_file_is_said_to_be_good(config):
    assert config("check", "FILE", text="oom_score: 5") == (0, "FILE: good (1 plugin configured, 0 warnings)\n", "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("grpc:\n  adress: /x", 'FILE:2: grpc.adress: unknown key; did you mean "address"?'),
        (f"plugins: {{{GC}: {{delay: soon}}}}", f'FILE:1: plugins."{GC}".delay: unable to parse soon into a time duration; expected a duration such as "30s" or "1h2m"'),
        ("plugins: {io.a.b.c: {}}", 'FILE:1: plugins."io.a.b.c": there is no such plugin'),
        ("[1", "FILE:2: not YAML: while parsing a flow sequence did not find expected ',' or ']' (column 1)"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line_on_stderr_and_exit_1(config, text, line):
    assert config("check", "FILE", text=text) == (1, "", f"holdfast: {line}\n")


def test_a_missing_file_is_one_line_and_exit_1(config):
    assert config("check", "FILE") == (
        1,
        "",
        "holdfast: failed to load YAML: FILE: open FILE: no such file or directory\n",
    )
    assert config("dump", "-c", "FILE")[0] == 1


def test_the_section_of_a_disabled_plugin_is_not_decoded(config):
    text = f'version = 2\ndisabled_plugins = ["{GC}"]\n[plugins."{GC}"]\ndelay = "soon"\n'
    assert config("check", "FILE", text=text, name="c.toml") == (
        0,
        "FILE: good (0 plugins configured, 0 warnings)\n",
        "",
    )
    code, out, _ = config("dump", "-c", "FILE", name="c.toml")
    assert (code, "    delay: soon\n" in out) == (0, True)


def test_warnings_go_to_stderr_and_are_counted(config):
    code, out, err = config("check", "FILE", text="version = 2\nstray = 1\n", name="c.toml")
    assert (code, out) == (0, "FILE: good (1 plugin configured, 1 warning)\n")
    assert err == 'FILE:2: warning: stray: unknown key, ignored; did you mean "state"?\n'


def test_a_plugin_remarks_on_its_section_with_the_line(config):
    text = f"plugins:\n  {GC}:\n    delay: 2h\n"
    line = f'FILE:3: warning: plugins."{GC}".delay: more than a minute\n'
    assert config("check", "FILE", text=text) == (0, "FILE: good (1 plugin configured, 1 warning)\n", line)
    last = "holdfast: FILE: 1 warning, and --strict accepts none\n"
    assert config("check", "--strict", "FILE", text=text) == (1, "", line + last)


def test_a_plugin_refuses_its_section_with_the_line(config, monkeypatch):
    refusing = msgspec.structs.replace(gc, remarks=lambda config: [Remark(("delay",), "never", fatal=True)])
    monkeypatch.setattr("holdfast.plugins.installed", lambda disabled=(): [refusing])
    code, out, err = config("check", "FILE", text=f"plugins:\n  {GC}:\n    delay: 2h\n")
    assert (code, out, err) == (1, "", f'holdfast: FILE:3: plugins."{GC}".delay: never\n')


def test_a_check_of_a_plugin_that_breaks_is_a_warning(config, monkeypatch):
    broken = msgspec.structs.replace(gc, remarks=lambda config: config.nothing)
    monkeypatch.setattr("holdfast.plugins.installed", lambda disabled=(): [broken])
    code, _, err = config("check", "FILE", text=f"plugins:\n  {GC}: {{}}\n")
    words = "the plugin's own check failed: AttributeError: 'Gc' object has no attribute 'nothing'"
    assert (code, err) == (0, f'FILE:2: warning: plugins."{GC}": {words}\n')


def test_without_a_file_the_default_one_is_checked(config, monkeypatch, tmp_path):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    own = tmp_path / "holdfast" / "config.yaml"
    words = f"{own} does not exist, the defaults: good (1 plugin configured, 0 warnings)\n"
    if not Path("/etc/holdfast/config.yaml").exists():
        assert config("check") == (0, words, "")
    own.parent.mkdir()
    own.write_text("oom_score: 5")
    assert config("check") == (0, f"{own}: good (1 plugin configured, 0 warnings)\n", "")


def test_a_dash_is_standard_input_whose_imports_are_beside_the_reader(config, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more.yaml").write_text("oom_score: 5")
    with stdin("imports: [more.yaml]\nroot: /a\n"):
        assert config("check", "-")[:2] == (0, "/dev/stdin, more.yaml: good (1 plugin configured, 0 warnings)\n")
    with stdin("oom_scare: 5\n"):
        words = 'holdfast: /dev/stdin:1: oom_scare: unknown key; did you mean "oom_score"?\n'
        assert config("check", "-") == (1, "", words)
    with stdin("version = 2\noom_score = 5\n"):
        assert config("migrate", "-") == (0, "# From /dev/stdin\nversion: 2\noom_score: 5\n", "")


def test_a_dump_has_files_defaults_and_plugins(config):
    code, out, err = config("dump", "-c", "FILE", text=f"oom_score: 5\nplugins: {{{GC}: {{delay: 2s}}}}")
    assert (code, err) == (0, "")
    assert "oom_score: 5\n" in out
    assert 'metrics:\n  address: "127.0.0.1:9420"\n' in out
    assert out.endswith(f"plugins:\n  {GC}:\n    delay: 2s\n")


def test_migration_is_yaml_that_passes_the_check(config, tmp_path):
    code, out, err = config("migrate", "FILE", text='[plugins.scheduler]\ndelay = "2s"\n', name="c.toml")
    assert (code, out, err) == (0, f"# From FILE\nversion: 2\nplugins:\n  {GC}:\n    delay: 2s\n", "")
    assert config("check", "FILE", text=out)[0] == 0


def test_the_schema_is_json_with_the_plugins_sections(config):
    code, out, _ = config("schema")
    plugins = json.loads(out)["$defs"]["Settings"]["properties"]["plugins"]
    assert (code, list(plugins["properties"])) == (0, [GC])


def test_help_names_the_commands_and_a_stray_argument_is_refused(config):
    code, out, _ = config("--help")
    assert code == 0
    assert all(f"  {name} " in out for name in ("default", "dump", "check", "migrate", "schema"))
    assert config("default", "stray")[0] == 2


def test_a_plugin_migrates_its_own_section(config):
    old = f'version = 2\n[plugins."{GC}"]\ndelay_seconds = 3\n'
    status, out, _ = config("migrate", "FILE", text=old, name="c.toml")
    assert status == 0
    assert f'#   line 2: plugins."{GC}": migrated by its plugin' in out.splitlines()
    assert out.endswith(f"plugins:\n  {GC}:\n    delay: 3s\n")
    status, out, _ = config("dump", "-c", "FILE", text=old, name="c.toml")
    assert (status, "delay: 3s" in out) == (0, True)
