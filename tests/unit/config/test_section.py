from typing import Annotated

import msgspec
import pytest
from holdfast.config import check_sections, decode_section, load
from holdfast.config.load import Environment
from holdfast.config.schema import Settings
from holdfast.config.section import is_disabled
from holdfast.errors import ConfigError, UnusableConfigType

ROOT = Environment(0, {}, "/")
GC, CONTENT, OTHER = (
    "io.containerd.gc.v1.scheduler",
    "io.containerd.content.v1.content",
    "io.containerd.grpc.v1.content",
)


class Gc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pause_threshold: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.02
    paths: tuple[str, ...] = ()


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sync: bool = False


KNOWN = {GC: Gc, CONTENT: Content, OTHER: Content, "io.containerd.grpc.v1.version": None}


@pytest.fixture
def settings(tmp_path):
    def settings(text, suffix="yaml"):
        path = tmp_path / f"c.{suffix}"
        path.write_text(text)
        return load(path, surroundings=ROOT).settings

    return settings


def test_a_section_is_raw_data_until_its_plugin_decodes_it(settings):
    found = settings(f"plugins: {{{GC}: {{pause_threshold: 0.5, odd: 1}}}}")
    assert found.plugins == {GC: {"pause_threshold": 0.5, "odd": 1}}


def test_a_plugin_without_a_section_gets_its_defaults(settings):
    assert decode_section(settings("{}"), GC, Gc) == Gc()


def test_a_mistake_in_a_section_has_file_line_and_whole_key(settings, tmp_path):
    found = settings(f"plugins:\n  {GC}:\n    pause_threshold: 0.9\n")
    with pytest.raises(ConfigError) as refused:
        decode_section(found, GC, Gc)
    line = f'{tmp_path}/c.yaml:3: plugins."{GC}".pause_threshold: expected a number between 0 and 0.5, got 0.9'
    assert str(refused.value) == line


def test_an_unknown_key_is_an_error_in_yaml_and_a_warning_in_toml(settings, tmp_path):
    warnings = []
    assert decode_section(settings(f'version = 2\n[plugins."{GC}"]\nzzz = 1', "toml"), GC, Gc, warnings) == Gc()
    assert list(map(str, warnings)) == [f'{tmp_path}/c.toml:3: plugins."{GC}".zzz: unknown key, ignored']
    with pytest.raises(ConfigError, match='pause_thresold: unknown key; did you mean "pause_threshold"'):
        decode_section(settings(f"plugins: {{{GC}: {{pause_thresold: 1}}}}"), GC, Gc)


def test_a_short_id_is_every_plugin_that_has_it(settings):
    found = settings("[plugins.content]\nsync = true\n[plugins.scheduler]\npaths = ['a']", "toml")
    assert decode_section(found, CONTENT, Content) == decode_section(found, OTHER, Content) == Content(sync=True)
    assert decode_section(found, GC, Gc) == Gc(paths=("a",))
    assert check_sections(found, KNOWN) == []


def test_a_whole_uri_goes_over_a_short_id(settings, tmp_path):
    (tmp_path / "new.yaml").write_text(f"plugins: {{{GC}: {{pause_threshold: 0.4, paths: [b]}}}}")
    found = settings("imports = ['new.yaml']\n[plugins.scheduler]\npause_threshold = 0.3\npaths = ['a']", "toml")
    assert decode_section(found, GC, Gc) == Gc(0.4, ("a", "b"))


def test_a_section_nobody_reads_is_an_error_in_yaml(settings, tmp_path):
    with pytest.raises(ConfigError) as refused:
        check_sections(settings("plugins:\n  io.containerd.gc.v1.schedular: {}"), KNOWN)
    assert str(refused.value) == (
        f'{tmp_path}/c.yaml:2: plugins."io.containerd.gc.v1.schedular": there is no such plugin; did you mean "{GC}"?'
    )
    with pytest.raises(ConfigError, match="this plugin takes no configuration"):
        check_sections(settings("plugins: {io.containerd.grpc.v1.version: {}}"), KNOWN)
    with pytest.raises(ConfigError, match="its settings are in grpc"):
        check_sections(settings("plugins: {io.containerd.server.v1.grpc-tcp: {address: ''}}"), KNOWN)


def test_the_sections_of_containerds_plugins_are_one_warning_a_file(settings, tmp_path):
    sections = "\n".join(f'[plugins."io.containerd.snapshotter.v1.s{n}"]' for n in range(5))
    assert list(map(str, check_sections(settings(f"version = 2\n{sections}", "toml"), KNOWN))) == [
        f"{tmp_path}/c.toml:2: plugins: ignoring the sections of plugins that are not here:"
        " io.containerd.snapshotter.v1.s0, io.containerd.snapshotter.v1.s1, io.containerd.snapshotter.v1.s2 and 2 more"
    ]


def test_a_disabled_name_that_is_nobodys_is_a_warning(settings):
    found = settings("disabled_plugins: [io.containerd.grpc.v1.versoin, io.containerd.grpc.v1.version]")
    assert list(map(str, check_sections(found, KNOWN))) == [
        "disabled_plugins: there is no plugin io.containerd.grpc.v1.versoin; did you mean"
        ' "io.containerd.grpc.v1.version"?'
    ]


def test_a_proxy_plugin_may_be_disabled_and_have_a_section(settings):
    uri = "io.containerd.snapshotter.v1.remote"
    proxy = "proxy_plugins: {remote: {type: snapshot, address: /x}}"
    assert check_sections(settings(f"{proxy}\ndisabled_plugins: [{uri}]\nplugins: {{{uri}: {{}}}}"), KNOWN) == []


def test_settings_made_by_hand_decode_too():
    assert decode_section(Settings(plugins={GC: {"paths": ["a"]}}), GC, Gc) == Gc(paths=("a",))


def test_disabling_by_short_id_counts_only_in_version_1():
    found = Settings(disabled_plugins=("content", GC))
    assert [is_disabled(found, uri, short_ids=True) for uri in (CONTENT, OTHER, GC)] == [True, True, True]
    assert [is_disabled(found, uri, short_ids=False) for uri in (CONTENT, OTHER, GC)] == [False, False, True]


def renamed(version, section):
    """Version 3 and older call the threshold a percentage."""
    if "percent" in section:
        section["pause_threshold"] = section.pop("percent") / 100
    return {**section, "paths": [*section.get("paths", ()), str(version)]}


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        (GC, "version = 3", Gc(0.1, ("3",))),
        (GC, "version = 2", Gc(0.1, ("2",))),
        ("scheduler", "version = 1", Gc(0.1, ("1",))),
        ("scheduler", "", Gc(0.1, ("1",))),
    ],
)
def test_a_section_of_an_older_file_is_migrated_by_its_plugin(settings, name, version, expected):
    found = settings(f'{version}\n[plugins."{name}"]\npercent = 10', "toml")
    assert decode_section(found, GC, Gc, None, renamed) == expected


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        (f"plugins: {{{GC}: {{pause_threshold: 0.1}}}}", "yaml"),
        (f'version = 4\n[plugins."{GC}"]\n', "toml"),
        ("", "toml"),
    ],
)
def test_a_section_of_today_and_no_section_are_not_migrated(settings, text, suffix):
    decode_section(settings(text, suffix), GC, Gc, None, lambda version, section: pytest.fail(f"{version} {section}"))


def test_an_older_file_below_a_yaml_file_is_migrated_too(settings, tmp_path):
    (tmp_path / "old.toml").write_text(f'version = 2\n[plugins."{GC}"]\npercent = 10\n')
    found = settings(f"imports: [old.toml]\nplugins: {{{GC}: {{paths: [a]}}}}")
    assert decode_section(found, GC, Gc, None, renamed) == Gc(0.1, ("a", "2"))


def test_a_mistake_in_a_migrated_section_has_its_line(settings, tmp_path):
    found = settings(f'version = 2\n[plugins."{GC}"]\n\npause_threshold = 0.9', "toml")
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/c.toml:4: plugins.*pause_threshold: expected"):
        decode_section(found, GC, Gc, None, renamed)


def test_a_migration_may_refuse_and_one_that_fails_is_the_plugins_failure(settings, tmp_path):
    def refuses(version, section):
        raise ConfigError("percent was removed")

    found = settings(f'version = 2\n[plugins."{GC}"]\npercent = "x"', "toml")
    with pytest.raises(ConfigError, match=rf'^{tmp_path}/c.toml:2: plugins."{GC}": percent was removed'):
        decode_section(found, GC, Gc, None, refuses)
    with pytest.raises(UnusableConfigType, match="its config_migration failed: TypeError"):
        decode_section(found, GC, Gc, None, renamed)
    with pytest.raises(UnusableConfigType, match="its config_migration failed: TypeError"):
        decode_section(found, GC, Gc, None, lambda version, section: None)
