import math
from typing import Annotated

import msgspec
import pytest
from holdfast.config import Duration, check_sections, decode_section, load
from holdfast.config.document import Source
from holdfast.config.load import Environment
from holdfast.config.render import commented_defaults, effective, migrated_text, scalar
from holdfast.config.schema import Settings
from holdfast.config.yamldoc import read_yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

ROOT = Environment(0, {}, "/")
GC = "io.containerd.gc.v1.scheduler"


class Gc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pause: Annotated[float, Meta(ge=0, le=0.5, description="share of time")] = 0.02
    delay: Annotated[Duration, Meta(description="before the first run", examples=["5s"])] = 0.1


class Needs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: Annotated[list[dict[str, int]], Meta(description="rules")]


KNOWN = {
    GC: Gc,
    "io.containerd.grpc.v1.version": None,
    "io.containerd.grpc.v1.content": None,
    "io.containerd.content.v1.content": None,
}


def loaded(tmp_path, text, name="c.yaml"):
    (tmp_path / name).write_text(text)
    return load(tmp_path / name, surroundings=ROOT)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts)
def test_a_printed_scalar_reads_back_as_a_value_and_as_a_key(value):
    text = f"value: {scalar(value)}\nkeys: {{{scalar(str(value))}: 1}}\n"
    assert read_yaml(text, Source("c")).plain() == {"value": value, "keys": {str(value): 1}}


def test_not_a_number_reads_back():
    assert math.isnan(read_yaml(f"a: {scalar(math.nan)}", Source("c")).plain()["a"])


@pytest.mark.parametrize(
    "text", ["yes", "No", "on", "y", "null", "true", "1e3", "12:30", "0x1f", "", "a: b", "# x", "-", "<<", "1_0", "~"]
)
def test_what_another_yaml_reader_may_take_for_something_else_is_quoted(text):
    assert scalar(text).startswith('"')


@pytest.mark.parametrize(
    "text", ["info", "/run/holdfast/x.sock", "io.containerd.gc.v1.scheduler", "30s", "1h2m3.5s", "256Mi"]
)
def test_plain_words_are_not_quoted(text):
    assert scalar(text) == text


def test_the_commented_defaults_are_the_defaults(tmp_path):
    text = commented_defaults(Settings(), KNOWN)
    found = loaded(tmp_path, text)
    assert msgspec.structs.replace(found.settings, plugins={}) == Settings()
    assert (found.warnings, check_sections(found.settings, KNOWN)) == ((), [])
    assert decode_section(found.settings, GC, Gc) == Gc()


def test_a_key_is_printed_with_meaning_unit_range_and_example():
    text = commented_defaults(Settings(), KNOWN)
    assert (
        f"  {GC}:\n"
        "    # share of time (0 to 0.5)\n"
        "    pause: 0.02\n"
        "    # before the first run (duration)\n"
        "    # e.g. delay: 5s\n"
        "    delay: 100ms\n"
    ) in text
    assert "  # largest message sent; 0: no limit (bytes, 0 to 2147483647)\n  max_send_message_size: 16Mi\n" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_key_that_must_be_given_is_printed_as_a_comment():
    assert "    # rules\n    # rules:\n" in commented_defaults(Settings(), {"io.a.v1.b": Needs})


TEXT = f"""
root: /r
oom_score: -5
grpc:
  tcp_address: ':7420'
  tcp_tls_cert: /c
  tcp_tls_key: /k
  tcp_tls_ca: /a
  grants:
    - identities: ["CN=a b", 'spiffe://x/*']
      methods: ['*']
debug: {{level: debug}}
tracing: {{ratio: 0.25}}
timeouts: {{org.example: 1m30s}}
proxy_plugins: {{p: {{type: content, address: /p, exports: {{"odd key": "odd: value"}}}}}}
disabled_plugins: [io.containerd.grpc.v1.version]
plugins: {{{GC}: {{delay: 3s}}, io.other.v1.x: {{a: [1, {{b: null}}], c: []}}}}
"""


def test_what_is_dumped_loads_to_what_was_loaded(tmp_path):
    first = loaded(tmp_path, TEXT)
    section = decode_section(first.settings, GC, Gc)
    again = loaded(tmp_path, effective(first.settings, {GC: section}, KNOWN), "again.yaml")
    assert decode_section(again.settings, GC, Gc) == section == Gc(delay=3.0)
    assert again.settings.plugins["io.other.v1.x"] == first.settings.plugins["io.other.v1.x"]
    without = msgspec.structs.replace
    assert without(again.settings, plugins={}) == without(first.settings, plugins={})


def test_a_dump_of_a_version_1_file_names_whole_uris_and_loads_again(tmp_path):
    first = loaded(tmp_path, "disabled_plugins = ['content', 'cri']\n[plugins.scheduler]\ndelay = '2s'", "c.toml")
    section = decode_section(first.settings, GC, Gc)
    again = loaded(tmp_path, effective(first.settings, {GC: section}, KNOWN))
    assert again.settings.disabled_plugins == (
        "io.containerd.content.v1.content",
        "io.containerd.grpc.v1.content",
        "io.containerd.grpc.v1.cri",
    )
    assert again.settings.plugins == {GC: {"pause": 0.02, "delay": "2s"}}


def test_a_note_cannot_leave_its_comment():
    text = migrated_text({"root": "/r"}, ["x\nroot: /evil"], "/a\nb.toml")
    assert read_yaml(text, Source("c")).plain() == {"version": 2, "root": "/r"}


def test_an_effective_configuration_without_imports_stands_alone(tmp_path):
    (tmp_path / "x.yaml").write_text("temp: /t")
    found = loaded(tmp_path, "imports: [x.yaml]").settings
    again = loaded(tmp_path, effective(found, {}, []), "again.yaml").settings
    assert (again.temp, again.imports) == ("/t", ())
