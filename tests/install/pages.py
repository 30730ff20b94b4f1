"""The commands that the pages have a reader type, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`(?P<text>[^`\n]+)`(?!`)")
SHELL = ("", "sh", "bash", "console")
PROMPT = "$ "


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block for a shell. ``shown`` is what a block with prompts has below each of its commands."""

    commands: tuple[str, ...]
    shown: tuple[tuple[str, ...], ...] = ()

    @property
    def script(self) -> str:
        """All its commands, one after the other."""
        return "\n".join(self.commands)


def blocks(page: str) -> list[Block]:
    """The blocks of a page that are for a shell."""
    text = (REPOSITORY / page).read_text()
    found = [fence for fence in FENCE.finditer(text) if fence["language"] in SHELL]
    return [_session(one["text"]) if one["language"] == "console" else Block((one["text"],)) for one in found]


def block(page: str, words: str) -> Block:
    """The one block of a page with these words among its commands."""
    found = [one for one in blocks(page) if words in one.script]
    assert len(found) == 1, f"{len(found)} blocks with {words!r} in {page}"
    return found[0]


def inline(page: str) -> Iterator[str]:
    """Return the text that a page has between backticks in a line."""
    text = FENCE.sub("", (REPOSITORY / page).read_text())
    return (found["text"] for found in INLINE.finditer(text))


def _session(text: str) -> Block:
    commands: list[str] = []
    shown: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith(PROMPT):
            commands.append(line.removeprefix(PROMPT))
            shown.append([])
        elif commands and commands[-1].endswith("\\"):  # it goes on
            commands[-1] += f"\n{line}"
        elif shown:
            shown[-1].append(line)
    return Block(tuple(commands), tuple(map(tuple, shown)))
