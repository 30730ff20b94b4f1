"""Printing for people (aligned columns, plain text) and for programs (proto3 JSON with the proto's field names)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.inert import inert, json_document

if TYPE_CHECKING:
    from google.protobuf.message import Message

_GAP = "    "  # ctr's


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Rows as columns, each as wide as its widest cell; no blanks at line ends. Every cell is inert."""
    cells = [[inert(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


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


def as_json(value: object, *, lines: bool = False) -> str:
    """Indented JSON, or with ``lines`` one line for a stream; inert."""
    return json_document(value, indent=None if lines else 2)
