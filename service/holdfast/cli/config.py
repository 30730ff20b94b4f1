"""``holdfast config``: print, check, migrate and describe configuration files. ``show`` alone asks a daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.options import ClientCommand, client_options_for
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    import msgspec

    from holdfast.config import Finding, Loaded

    Known = Mapping[str, type[msgspec.Struct] | None]

_CONFIG = click.option("-c", "--config", "path", type=click.Path(), help="Configuration file (YAML or TOML).")
_STREAM = "-"


@click.group()
def config() -> None:
    """Print, check and migrate configuration files; show what a daemon has in force."""


@config.command(short_help="Print every key, its meaning and its default, as YAML.")
def default() -> None:
    """Print every key with its meaning, range and default, as a YAML file."""
    from holdfast.config import Settings, own_defaults
    from holdfast.config.render import commented_defaults

    click.echo(commented_defaults(own_defaults().settings(Settings()), _known()), nl=False)


@config.command(short_help="Print what files mean, with imports and defaults.")
@_CONFIG
def dump(path: str | None) -> None:
    """Print the effective configuration of files: imports and defaults, plugins' sections included.

    `holdfast config show` prints what a running daemon has in force.
    """
    from holdfast.config.render import effective

    loaded, sections, _ = _checked(path)
    click.echo(effective(loaded.settings, sections, list(_known())), nl=False)


@config.command(cls=ClientCommand, short_help="Print the configuration that a running daemon has in force.")
@client_options_for("yaml")
def show(client: DaemonClient) -> int:
    """Print the configuration that the running daemon has in force, with its hash and since when.

    Comments at the top name the files, the keys that wait for a restart, and why the files as they are now are not in
    force, if they are not. Secrets are hidden. With -o json it is the text in config_json. Exit code 1 while the daemon
    refuses its files.
    """
    import json

    from holdfast.api.config.v1.config_pb2 import ShowRequest
    from holdfast.api.config.v1.config_pb2_grpc import ConfigStub
    from holdfast.cli.table import show as print_lines
    from holdfast.config.render import text

    answer = client.ask(client.stub(ConfigStub).Show, ShowRequest())
    if not client.emitted(answer):
        notes = [f"hash {answer.hash[:12]}, in force since {answer.in_force_since.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"]
        notes += [f"read from {', '.join(answer.files)}"] * bool(answer.files)
        notes += ["this is the last good configuration: the files were refused at the start"] * answer.is_last_good
        notes += [f"the files are refused: {answer.refused}"] * bool(answer.refused)
        notes += [f"waits for a restart: {', '.join(answer.needs_restart)}"] * bool(answer.needs_restart)
        print_lines([*(f"# {note}" for note in notes), *text(json.loads(answer.config_json))[:-1].split("\n")])
    return int(bool(answer.refused))


@config.command(short_help="Check a configuration; print errors and warnings.")
@click.argument("file", required=False, type=click.Path())
@click.option("--strict", is_flag=True, help="Exit 1 for warnings, too.")
def check(file: str | None, strict: bool) -> None:
    """Check FILE and the files it imports as the daemon reads them.

    Without FILE the default file is checked; - is YAML from standard input. An error is one line on stderr and exit
    code 1. Warnings are printed as FILE:LINE: warning: … and do not change the exit code unless --strict is given.
    """
    from holdfast.config import own_defaults
    from holdfast.config.render import one_line

    loaded, sections, warnings = _checked(file)
    files = ", ".join(one_line(str(source)) for source in loaded.sources)
    files = files or f"{own_defaults().config_files[0]} does not exist, the defaults"
    if strict and warnings:
        raise ConfigError(f"{files}: {_counted(len(warnings), 'warning')}, and --strict accepts none")
    click.echo(f"{files}: good ({_counted(len(sections), 'plugin')} configured, {_counted(len(warnings), 'warning')})")


@config.command(short_help="Print containerd's config.toml as YAML.")
@click.argument("file", type=click.Path())
def migrate(file: str) -> None:
    """Print containerd's config.toml FILE (- for standard input) as YAML, with notes on what was not taken over."""
    from holdfast.config.load import migrated_file
    from holdfast.plugins import installed

    plugins = installed()
    known = {one.uri: one.config for one in plugins}
    click.echo(migrated_file(_path(file), known, {one.uri: one.config_migration for one in plugins}), nl=False)


@config.command(short_help="Print the JSON Schema of the YAML file.")
def schema() -> None:
    """Print the JSON Schema of the YAML file, for editors and for CI."""
    import json

    from holdfast.config.jsonschema import json_schema

    click.echo(json.dumps(json_schema(_known()), indent=2))


def _known() -> Known:
    from holdfast.plugins import known_configs

    return known_configs()


def _path(file: str) -> str:
    from holdfast.config.source import STDIN

    return STDIN if file == _STREAM else file


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _checked(path: str | None) -> tuple[Loaded, dict[str, Any], list[Finding]]:
    """Load, and decode the sections of every plugin that would start; warnings go to stderr.

    Raises:
        ConfigError: one line.
    """
    from holdfast.config import check_sections, decode_section, load, placed
    from holdfast.config.section import is_disabled
    from holdfast.errors import UnusableConfigType
    from holdfast.plugins import installed

    loaded = load(_path(path) if path is not None else None)
    settings = loaded.settings
    plugins = installed(settings.disabled_plugins)
    warnings = [*loaded.warnings, *check_sections(settings, {one.uri: one.config for one in plugins})]
    sections: dict[str, Any] = {}
    for one in plugins:
        if one.config is not None and not is_disabled(settings, one.uri, short_ids=loaded.short_ids):
            try:
                sections[one.uri] = decode_section(settings, one.uri, one.config, warnings, one.config_migration)
            except UnusableConfigType as error:
                click.echo(f"warning: plugin {one.uri} will not start: {error}", err=True)
                continue
            warnings += placed(settings, one.uri, one.remarks_on(sections[one.uri]))
    for warning in warnings:
        click.echo(warning.as_warning, err=True)
    return loaded, sections, warnings
