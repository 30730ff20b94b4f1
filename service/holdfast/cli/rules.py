"""``holdfast rules``: the rules in force, the built-in rules, and the import of other tools' rules."""

from __future__ import annotations

import grp
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.listing import OUTPUTS, Listing, Shown, list_options
from holdfast.cli.options import ClientGroup, client_options_for
from holdfast.cli.placement import stub
from holdfast.cli.suggestion import builtin_files
from holdfast.cli.table import NONE, Column, aligned
from holdfast.wording import STATES, mode_of

if TYPE_CHECKING:
    from holdfast.api.placement.v1 import placement_pb2 as pb

ANANICY = (".types", ".cgroups", ".rules")
_WIDE_STATES = ("moving",)


def _count(state: str) -> Column[pb.RuleInfo]:
    def number(rule: pb.RuleInfo) -> int:
        return rule.processes.get(state, 0)

    return Column(state.upper(), lambda rule: str(number(rule)), key=number, wide=state in _WIDE_STATES)


RULES: Listing[pb.RuleInfo] = Listing(
    field="rules",
    columns=(
        Column("RULE", lambda rule: rule.name),
        Column("MODE", mode_of),
        Column("FROM", lambda rule: "built-in" if rule.builtin else "yours"),
        *map(_count, STATES),
        Column("WHY IT IS THERE", lambda rule: rule.reason or NONE, wide=True),
    ),
    name=lambda rule: rule.name,
    identity=lambda rule: rule.name,
)


@click.group(cls=ClientGroup, invoke_without_command=True)
@list_options(RULES.columns)
@client_options_for("table", *OUTPUTS)
def rules(client: DaemonClient, shown: Shown) -> None:
    """List the rules in force, in their order, and how many processes each has in which state.

    With -o wide also why each rule is there.
    """
    from holdfast.api.placement.v1.placement_pb2 import ListRulesRequest

    if click.get_current_context().invoked_subcommand is None:
        RULES.show(client, lambda: client.ask(stub(client).ListRules, ListRulesRequest()), shown)


@rules.command(short_help="List the built-in rule files, or print one.")
@click.argument("name", default="", shell_complete=builtin_files)
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
    completed by its type. Of cgrules.conf give the file and cgrules.d; users and groups are those of this machine.
    """
    from holdfast.node.importers.ananicy import from_ananicy
    from holdfast.node.importers.cgrules import from_cgrules
    from holdfast.node.importers.imported import as_yaml

    suffixes = ANANICY if tool == "ananicy" else ()
    texts = {str(file): file.read_text("utf-8", "replace") for path in paths for file in _files(path, suffixes)}
    imported = from_ananicy(texts) if tool == "ananicy" else from_cgrules(texts, _Accounts())
    click.echo(as_yaml(imported, ", ".join(map(str, paths)), every=every_loss), nl=False)


def _files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a directory and those below it, in the order of their names, as ananicy reads them."""
    if not path.is_dir():
        return [path]
    found = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in found if not suffixes or file.suffix in suffixes)


class _Accounts:
    """The users and groups of the machine that runs the import."""

    def uid_of(self, user: str) -> int | None:
        try:
            return pwd.getpwnam(user).pw_uid
        except (KeyError, ValueError):  # ValueError: a name that can be none
            return None

    def members_of(self, group: str) -> list[str] | None:
        try:
            found = grp.getgrnam(group)
        except (KeyError, ValueError):
            return None
        own = (user.pw_name for user in pwd.getpwall() if user.pw_gid == found.gr_gid)
        return list(dict.fromkeys([*found.gr_mem, *own]))
