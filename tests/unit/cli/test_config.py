# ruff: noqa: E501 (a row of a table stays a row)
import json
from typing import Annotated

import msgspec
import pytest
from holdfast.cli.main import call
from holdfast.config import Duration, load
from msgspec import Meta

GC = "io.containerd.gc.v1.scheduler"


class Gc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    delay: Annotated[Duration, Meta(ge=0, description="before the first run")] = 0.1


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr("holdfast.plugins.known_configs", lambda: {GC: Gc, "io.containerd.grpc.v1.version": None})


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
    assert config("check", "FILE", text="oom_score: 5") == (0, "FILE: good (1 plugins configured, 0 warnings)\n", "")


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
    assert (code, out) == (0, "FILE: good (1 plugins configured, 1 warnings)\n")
    assert err == 'holdfast: warning: FILE:2: stray: unknown key, ignored; did you mean "state"?\n'


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
