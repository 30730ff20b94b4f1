"""``holdfast rules``: the rules in force, the built-in rules, and other tools' rules as ours."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.client import Client, client_options
from holdfast.cli.placement import stub
from holdfast.cli.table import aligned, as_json, plain

_STATES = ("held", "moving", "planned", "partly", "refused")


@click.group(invoke_without_command=True)
@client_options
def rules(client: Client) -> None:
    """List the rules in force, in their order, and how many processes each has in which state."""
    from holdfast.api.placement.v1.placement_pb2 import ListRulesRequest

    if click.get_current_context().invoked_subcommand is not None:
        return
    answer = client.ask(stub(client).ListRules, ListRulesRequest())
    if client.json:
        click.echo(as_json(plain(answer)))
        return
    rows = [
        (
            rule.name,
            "suspended" if rule.suspended else "dry run" if rule.dry_run else "on",
            "built-in" if rule.builtin else "yours",
            *(str(rule.processes.get(state, 0)) for state in _STATES),
            rule.reason,
        )
        for rule in answer.rules
    ]
    click.echo(aligned([("RULE", "MODE", "FROM", *map(str.upper, _STATES), "WHY IT IS THERE"), *rows]))


@rules.command(short_help="List the built-in rule files, or print one.")
@click.argument("name", default="")
def builtin(name: str) -> None:
    """List the built-in rule files, or print the one called NAME with its comments."""
    from holdfast.node.rule import builtin as files

    if name:
        click.echo(files.text(name), nl=False)
        return
    optional = files.optional()
    rows = [
        (some, "by name" if some in optional else "all", ", ".join(rule.name for rule in files.load(some)))
        for some in (*files.names(), *optional)
    ]
    click.echo(aligned([("FILE", "WITH", "RULES"), *rows]))


@rules.command("shipped", hidden=True)
@click.argument("name", default="")
@click.pass_context
def _shipped(context: click.Context, name: str) -> None:
    """Run ``rules builtin`` by its old name."""
    click.echo("holdfast: warning: rules shipped: deprecated; the command is called rules builtin now", err=True)
    context.invoke(builtin, name=name)


@rules.command("import", short_help="Print another tool's rules as ours.")
@click.argument("tool", type=click.Choice(["ananicy", "cgrules"]))
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--every-loss", is_flag=True, help="A line for everything left behind, however often for one reason.")
def import_(tool: str, paths: tuple[Path, ...], every_loss: bool) -> None:
    """Print another tool's rules as ours, with what could not be carried over as comments at the top.

    Of ananicy give all files at once (00-types.types, 00-cgroups.cgroups, *.rules) or their directory: a rule is
    completed by its type.
    """
    from holdfast.node.importers.foreign import as_yaml, from_ananicy, from_cgrules

    read = {"ananicy": from_ananicy, "cgrules": from_cgrules}[tool]
    texts = {str(file): file.read_text("utf-8", "replace") for path in paths for file in _files(path)}
    click.echo(as_yaml(read(texts), ", ".join(map(str, paths)), every=every_loss), nl=False)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for suffix in ("types", "cgroups", "rules") for file in path.rglob(f"*.{suffix}"))
