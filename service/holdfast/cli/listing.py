"""Lists of things, in every form of output, once or for as long as they change.

A list has an answer of the daemon, the repeated field of it with the things, and the columns of its table. ``--watch``
asks again every few seconds, and prints the things that are new or changed. It does not follow Watch, where a process
that ends has no report: the list would keep it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click
from msgspec import Struct

from holdfast.cli.table import Column, Table, show

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from holdfast.cli.client import DaemonClient

    Answer = TypeVar("Answer", bound=Message)

T = TypeVar("T")
OUTPUTS = ("wide", "name")  # beside the table, JSON and YAML
EVERY_S = 2.0


class Shown(Struct, frozen=True):
    """How a list is printed, from `list_options`. ``sort``: a column's name; with ``-`` in front downwards."""

    watch: bool = False
    every_s: float = EVERY_S
    headers: bool = True
    sort: str = ""


class Listing(Struct, Generic[T], frozen=True):
    """A kind of list. ``field``: of the answer, that has the things; ``identity``: what a thing keeps as it changes;
    ``gone``: the thing as it is printed when it is no longer in the list, None if nothing is printed then.
    """

    field: str
    columns: tuple[Column[T], ...]
    name: Callable[[T], str]
    identity: Callable[[T], object]
    gone: Callable[[T], T | None] = lambda _: None
    empty: str = ""

    def show(self, client: DaemonClient, ask: Callable[[], Any], shown: Shown) -> None:
        """Print the list; with ``--watch`` until Ctrl-C."""
        answer = ask()
        items = self._sorted(answer, shown.sort)
        if not shown.watch:
            if not client.emitted(answer):
                self._print(client, self._table(client, items, shown), items)
            return
        table = self._table(client, items, shown)
        self._print(client, table, items)
        for changed in self._changes(ask, items, shown):
            self._print(client, table, changed)

    def _print(self, client: DaemonClient, table: Table[T], items: Sequence[T]) -> None:
        if client.for_programs:
            for item in items:
                client.emitted(item, lines=True)  # type: ignore[arg-type]
        elif client.output == "name":
            show([self.name(item) for item in items]) if items else None
        elif items or not self.empty:
            lines = table.lines(items)
            show(lines) if lines else None
        else:
            show([self.empty])

    def _table(self, client: DaemonClient, items: Sequence[T], shown: Shown) -> Table[T]:
        return Table(self.columns, wide=client.output == "wide", headers=shown.headers, first=items)

    def _sorted(self, answer: Any, sort: str) -> list[T]:
        """The things of an answer, in the order of a column; the answer itself gets this order, too."""
        field = getattr(answer, self.field)
        items: list[T] = list(field)
        if sort:
            column = next(one for one in self.columns if one.name == sort.removeprefix("-"))
            items.sort(key=column.order, reverse=sort.startswith("-"))
            del field[:]
            field.extend(items)
        return items

    def _changes(self, ask: Callable[[], Any], items: Sequence[T], shown: Shown) -> Iterator[list[T]]:
        """The things that are new, changed or gone, each time there are some."""
        before = {self.identity(item): item for item in items}
        while True:
            time.sleep(shown.every_s)
            now = {self.identity(item): item for item in self._sorted(ask(), shown.sort)}
            changed = [item for key, item in now.items() if before.get(key) != item]
            left = (self.gone(item) for key, item in before.items() if key not in now)
            changed += [item for item in left if item is not None]
            before = now
            if changed:
                yield changed


def list_options(columns: Sequence[Column[Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of a list; they come as one `Shown`, the parameter ``shown``."""
    names = [one.name for one in columns]
    choice = click.Choice([*names, *(f"-{name}" for name in names)])

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        import functools

        @functools.wraps(command)
        def with_shown(*arguments: Any, **options: Any) -> Any:
            shown = Shown(options.pop("watch"), options.pop("every"), options.pop("headers"), options.pop("sort") or "")
            return command(*arguments, shown=shown, **options)

        for option in (
            click.option("--no-headers", "headers", flag_value=False, default=True, help="Leave the first line out."),
            click.option(
                "--sort",
                type=choice,
                metavar="COLUMN",
                help=f"Sort by {', '.join(names)}; -COLUMN: downwards.",
            ),
            click.option(
                "--every",
                type=click.FloatRange(min=0.2),
                default=EVERY_S,
                show_default=True,
                help="Seconds, for --watch.",
            ),
            click.option(
                "-w", "--watch", is_flag=True, help="Go on, and print what is new or changed; ends with Ctrl-C."
            ),
        ):
            with_shown = option(with_shown)
        return with_shown

    return decorate
