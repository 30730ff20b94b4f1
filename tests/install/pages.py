"""The commands that the pages have a reader type, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`(?P<text>[^`\n]+)`(?!`)")
SHELL = ("", "sh", "bash", "console")
PROMPT = "$ "
HEAD = re.compile(r"[A-Z#][A-Z#0-9 ()]*")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block for a shell. ``shown`` is what a block with prompts has below each of its commands."""

    commands: tuple[str, ...]
    shown: tuple[tuple[str, ...], ...] = ()

    @property
    def script(self) -> str:
        """All its commands, one after the other."""
        return "\n".join(self.commands)


@dataclass(frozen=True, slots=True)
class Form:
    """Parts of a page that are the same on every machine: heads of tables, labels of lines, and sentences."""

    heads: frozenset[tuple[str, ...]]
    labels: frozenset[str]
    sentences: frozenset[str]

    def without(self, printed: Form) -> list[object]:
        """Return what is missing from ``printed``, whose tables may have more columns at the end."""
        heads = [head for head in self.heads if head not in {ours[: len(head)] for ours in printed.heads}]
        return [*heads, *(self.labels - printed.labels), *(self.sentences - printed.sentences)]


def form(text: str, rules: Sequence[str], names: Sequence[str]) -> Form:
    """The form of a command's output; numbers, times and the names of rules and processes are replaced."""
    for name, kind in [*((rule, "RULE") for rule in rules), *((name, "NAME") for name in names)]:
        text = text.replace(name, kind)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"-?\d+(?:\.\d+)?(?: [KMG]iB| m?s(?!\w))?", "N", text)
    text = re.sub(r"(?<=next victim: ).+", "NAME", text)  # that of the whole machine, perhaps in a pod
    heads, labels, sentences = set(), set(), set()
    for line in text.splitlines():
        fields = re.split(r" {2,}", line.strip())
        if len(fields) > 2 and fields[0] != "N" and all(map(HEAD.fullmatch, fields)):
            heads.add(tuple(fields))
        elif len(fields) > 1 and line.startswith("  ") and re.fullmatch(r"[a-z_ ]+:?", fields[0]):
            labels.add(fields[0])
        elif len(fields) == 1 and line and line[0] not in " /":  # a group's name is another here
            sentences.add(re.sub(r"(decision: rule RULE).*", r"\1", line))
    return Form(frozenset(heads), frozenset(labels), frozenset(sentences))


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
