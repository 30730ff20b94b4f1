"""Printing for people (aligned columns, plain text) and for programs (proto3 JSON with the proto's field names)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from unicodedata import combining, east_asian_width

from msgspec import Struct

from holdfast.inert import inert, json_document

if TYPE_CHECKING:
    from google.protobuf.message import Message

T = TypeVar("T")
_GAP = "    "  # ctr's
NONE = "-"


class Column(Struct, Generic[T], frozen=True):
    """One column of a table of things. ``wide``: only ``-o wide`` has it; ``seldom``: left out where it is empty in
    all rows; ``most``: characters, of which the last ones are kept, without ``-o wide``. ``key``: what rows are sorted
    by, the cell itself if it is not given.
    """

    title: str
    cell: Callable[[T], str]
    wide: bool = False
    seldom: bool = False
    most: int = 0
    key: Callable[[T], Any] | None = None

    @property
    def name(self) -> str:
        """The column's name on the command line: ``rule``, ``since``."""
        return self.title.split(" ")[0].lower()

    def order(self, item: T) -> Any:
        """The value that an item is sorted by."""
        return self.cell(item) if self.key is None else self.key(item)


class Table(Generic[T]):
    """Rows of things, as they are printed one after the other: later rows are as wide as the first ones, or wider."""

    def __init__(
        self, columns: Iterable[Column[T]], *, wide: bool, headers: bool, first: Sequence[T], gap: int = len(_GAP)
    ) -> None:
        """``first``: the things that are printed first, which decide on the columns. ``gap``: blanks between two."""
        self._gap = " " * gap
        self._columns = [
            one
            for one in columns
            if (wide or not one.wide) and not (one.seldom and all(one.cell(item) == NONE for item in first))
        ]
        self._is_wide = wide
        self._heads = [[one.title for one in self._columns]] if headers else []
        self._widths = [len(one.title) if headers else 0 for one in self._columns]

    def lines(self, items: Iterable[T]) -> list[str]:
        """The lines of these things; the first lines include the headers."""
        heads, self._heads = self._heads, []
        rows = [*heads, *([self._cell(one, item) for one in self._columns] for item in items)]
        self._widths = [max(map(len, column)) for column in zip(self._widths_as_text(), *rows, strict=True)]
        return [_line(row, self._widths, self._gap) for row in rows]

    def _cell(self, column: Column[T], item: T) -> str:
        cell = inert(column.cell(item))
        most = 0 if self._is_wide else column.most
        return f"…{cell[1 - most :]}" if 0 < most < len(cell) else cell

    def _widths_as_text(self) -> list[str]:
        return [" " * width for width in self._widths]


def _line(row: Iterable[str], widths: Iterable[int], gap: str = _GAP) -> str:
    return gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Rows as columns, each as wide as its widest cell; no blanks at line ends. Every cell is inert."""
    cells = [[inert(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(_line(row, widths) for row in cells)


def show(lines: Iterable[str], *, err: bool = False) -> None:
    """Print lines for a person, each of them one line and inert: the answer of a daemon must not drive a terminal."""
    import click

    click.echo("\n".join(map(inert, lines)), err=err)


def plain(message: Message) -> dict[str, Any]:
    """A message as proto3 JSON, every field present."""
    from google.protobuf.json_format import MessageToDict

    made: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return made


def in_cells(line: str, cells: int) -> str:
    """An inert line that takes exactly so many cells of a terminal: cut, or filled with blanks.

    A wide character of East Asia takes two cells, a mark on another character none (Unicode's annex 11).
    """
    if line.isascii():
        return line[:cells].ljust(cells)
    taken, used = 0, 0
    for character in line:
        width = 0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1
        if used + width > cells:
            break
        taken, used = taken + 1, used + width
    return line[:taken] + " " * (cells - used)


def as_yaml(value: Mapping[str, Any]) -> str:
    """YAML; inert, and still the same value: what is escaped stands in double quotes."""
    from holdfast.config.render import text

    return "\n".join(map(inert, text(dict(value)).rstrip("\n").split("\n"))) or "{}"


def as_json(value: object, *, lines: bool = False) -> str:
    """Indented JSON, or with ``lines`` one line for a stream; inert."""
    return json_document(value, indent=None if lines else 2)
