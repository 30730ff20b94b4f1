"""Reads the journal of releases before format 2, once: an sqlite database, and a log before it (``…-tail``)."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from holdfast import log
from holdfast.node.journal.rows import AdjRow, FileRow, GroupRow, MoveRow, OverrideRow, Row

LOG = log.named(__name__)
_ADJ = "oom_score_adj"
_Line = tuple[Any, ...]
_Key = tuple[int, int, str]


def rows(path: Path, boot_id: str) -> list[Row]:
    """Return its rows of this boot; a row that makes no sense is left out, and logged."""
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.text_factory = lambda text: text.decode(errors="surrogateescape")
            if db.execute("SELECT boot_id FROM about").fetchone() != (boot_id,):
                return []
            return list(_converted(db, path))
    except sqlite3.Error as error:
        LOG.error("the journal of an older release cannot be read", path=path, error=error)
        return []


def retire(path: Path) -> None:
    """Rename its files: its rows were imported."""
    for ending in ("-wal", "-shm", "-tail", ""):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{ending}", f"{path}.taken-in{ending}")


def _converted(db: sqlite3.Connection, path: Path) -> Iterator[Row]:
    held: dict[_Key, _Line] = {}
    for pid, ticks, field, before, written, previous, rule, as_child, give_back in db.execute("SELECT * FROM held"):
        held[pid, ticks, field] = (before, written, previous, rule, as_child, give_back)
    generation = _one(db, "SELECT generation FROM taken")
    for line in _tail(path.with_name(f"{path.name}-tail"), generation):
        _hold(held, *line)
    plain: list[tuple[type[Row], dict[str, Any]]] = []
    came_from: dict[tuple[str, str], str] = {}  # of a group: the former group of a process moved into it
    for (pid, ticks, field), (before, written, previous, rule, as_child, give_back) in held.items():
        of = {"pid": pid, "start_ticks": ticks, "rule": rule, "give_back": bool(give_back)}
        # which of the two is in force is known when the process is examined
        values = {"before": before, "written": previous or None, "wanted": written}
        if field == _ADJ:
            plain.append((AdjRow, {**of, **values, "as_child": bool(as_child)}))
        else:
            hierarchy = field.partition(":")[2]
            plain.append((MoveRow, {**of, **values, "hierarchy": hierarchy}))
            came_from.setdefault((hierarchy, written), before)
    for hierarchy, group, file, before, written, previous, rule, give_back in db.execute("SELECT * FROM settings"):
        place = {"hierarchy": hierarchy, "path": group, "file": file, "rule": rule, "give_back": bool(give_back)}
        plain.append((FileRow, {**place, "before": before, "written": previous or None, "wanted": written}))
    for hierarchy, group, rule in db.execute("SELECT * FROM made"):
        base = came_from.get((hierarchy, group), "")
        plain.append((GroupRow, {"hierarchy": hierarchy, "path": group, "rule": rule, "base": base}))
    for pid, ticks, adj, expires, why in db.execute("SELECT * FROM by_hand"):
        plain.append(
            (OverrideRow, {"pid": pid, "start_ticks": ticks, "adj": adj, "expires_unix_ns": expires, "why": why})
        )
    for kind, values in plain:
        try:
            yield msgspec.convert({"kind": kind.__struct_config__.tag, **values}, kind, strict=False)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            LOG.error("an invalid row of the older journal is skipped", row=repr(values), error=error)


def _one(db: sqlite3.Connection, query: str) -> Any:
    try:
        row = db.execute(query).fetchone()
    except sqlite3.OperationalError:  # no such table
        return None
    return row[0] if row else None


def _tail(path: Path, generation: int | None) -> Iterator[_Line]:
    """Yield the lines that its database had not imported."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    for line in text.split(b"\n")[:-1]:
        try:
            first, *rest = json.loads(line)
        except ValueError:
            return
        if first == generation and len(rest) == 8:
            yield tuple(rest)


def _hold(held: dict[_Key, _Line], pid: int, ticks: int, field: str, before: str, written: str, *of_rule: Any) -> None:
    """Merge a line with an older row: the first "before" stays while the value found there is ours."""
    known = held.get((pid, ticks, field))
    if known is None:
        held[pid, ticks, field] = (before, written, "", *of_rule)
        return
    first, last, previous = known[:3]
    kept = first if before in (last, previous) else before
    held[pid, ticks, field] = (kept, written, previous if before == previous else last, *of_rule)
