"""``holdfast config``: print, check, migrate and describe configuration files. No daemon is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import msgspec

    from holdfast.config import Loaded

    Known = Mapping[str, type[msgspec.Struct] | None]

_FILE = click.argument("file", type=click.Path())
_CONFIG = click.option("-c", "--config", "path", type=click.Path(), help="Configuration file (YAML or TOML).")


@click.group()
def config() -> None:
    """Print, check, migrate and describe configuration files."""


@config.command(short_help="Print every key, its meaning and its default, as YAML.")
def default() -> None:
    """Print every key with its meaning, range and default, as a YAML file."""
    from holdfast.config import Settings, own_defaults
    from holdfast.config.render import commented_defaults

    click.echo(commented_defaults(own_defaults().settings(Settings()), _known()), nl=False)


@config.command(short_help="Print the configuration that is in effect.")
@_CONFIG
def dump(path: str | None) -> None:
    """Print the effective configuration: files, imports and defaults, plugins' sections included."""
    from holdfast.config.render import effective

    loaded, sections, _ = _checked(path)
    click.echo(effective(loaded.settings, sections, list(_known())), nl=False)


@config.command(short_help="Say whether FILE can be used.")
@_FILE
def check(file: str) -> None:
    """Read FILE and what it imports as the daemon would; exit 0 if it can be used."""
    loaded, sections, warnings = _checked(file)
    from holdfast.config.render import one_line

    files = ", ".join(one_line(str(source)) for source in loaded.sources)
    click.echo(f"{files}: good ({len(sections)} plugins configured, {len(warnings)} warnings)")


@config.command(short_help="Print containerd's config.toml as YAML.")
@_FILE
def migrate(file: str) -> None:
    """Print containerd's config.toml FILE as YAML, with notes on what was not taken over."""
    from holdfast.config.load import migrated_file

    click.echo(migrated_file(file, _known()), nl=False)


@config.command(short_help="Print the JSON Schema of the YAML file.")
def schema() -> None:
    """Print the JSON Schema of the YAML file, for editors and for CI."""
    import json

    from holdfast.config.jsonschema import json_schema

    click.echo(json.dumps(json_schema(_known()), indent=2))


def _known() -> Known:
    from holdfast.plugins import known_configs

    return known_configs()


def _checked(path: str | None) -> tuple[Loaded, dict[str, Any], list[str]]:
    """Load, and decode the sections of every plugin that would start; warnings go to stderr.

    Raises:
        ConfigError: one line.
    """
    from holdfast.config import check_sections, decode_section, load
    from holdfast.config.section import is_disabled

    loaded, known = load(path), _known()
    warnings = [*loaded.warnings, *check_sections(loaded.settings, known)]
    sections = {
        uri: decode_section(loaded.settings, uri, type_, warnings)
        for uri, type_ in known.items()
        if type_ is not None and not is_disabled(loaded.settings, uri, short_ids=loaded.short_ids)
    }
    _warn(warnings)
    return loaded, sections, warnings


def _warn(warnings: list[str]) -> None:
    for line in warnings:
        click.echo(f"holdfast: warning: {line}", err=True)
