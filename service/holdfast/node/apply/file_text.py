"""The part of a file's text that is ours, and what was there before. `engine.reconciler` defines *before*.

Most files hold one value. In some, each line is about one device (or interface, or resource), and other programs' lines
stand beside ours: there every device and key counts by itself (`rule.setting.parts_of`).
"""

from __future__ import annotations

import os

from msgspec.structs import replace

from holdfast.node.journal.rows import FileRow
from holdfast.node.plan.setting import is_in_force, is_same_part
from holdfast.node.rule.setting import parts_of, setting_named, text_of_parts

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def has(file: str, wanted: str, now: str) -> bool:
    """Whether a file has a text that was written to it, in the kernel's rounding and spelling."""
    return is_in_force(file, wanted, now, _PAGE_BYTES)


def our_parts(row: FileRow, now: str) -> dict[str, str]:
    """Return the parts of the present text that we wrote, or may have written; a file with one value has one part."""
    said = [text for text in (row.written, row.wanted) if text is not None]
    if not setting_named(row.file).kind.keyed:
        return {"": now} if any(has(row.file, text, now) for text in said) else {}
    stands = parts_of(row.file, now)
    parts = [part for text in said for part in parts_of(row.file, text).items()]
    return {about: value for about, value in parts if is_same_part(value, stands.get(about))}


def wanting_row(row: FileRow, old: FileRow | None, now: str) -> FileRow:
    """Return the row for writing ``row.wanted`` over the present text; ``old``: the row that is known.

    Our parts of the present text stay ours: another rule may have written about another device.
    """
    ours = our_parts(old, now) if old is not None else {}
    if old is None or not ours:
        return row
    if not setting_named(row.file).kind.keyed:
        return replace(row, before=old.before, written=now)
    stood = parts_of(row.file, old.before)
    before = {about: value for about, value in parts_of(row.file, now).items() if about not in ours}
    before |= {about: stood[about] for about in ours if about in stood}
    wanted = {**ours, **parts_of(row.file, row.wanted or "")}
    texts = [text_of_parts(row.file, parts) for parts in (before, ours, wanted)]
    return replace(row, before=texts[0], written=texts[1], wanted=texts[2])


def after_refusal(row: FileRow, now: str) -> FileRow:
    """Return the row of a file after a refusal: the kernel may have taken the first of several lines."""
    if not setting_named(row.file).kind.keyed:
        if now == row.before or (row.written is not None and has(row.file, row.written, now)):
            return row
        return replace(row, written=now)
    stood = parts_of(row.file, row.before)
    ours = {about: text for about, text in our_parts(row, now).items() if not is_same_part(text, stood.get(about))}
    return replace(row, written=text_of_parts(row.file, ours)) if ours else row
