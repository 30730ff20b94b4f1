"""Check the words of pages, docstrings, comments, help and messages: ``python docs/words.py [FILE …]``.

``docs/words.toml`` lists the words and turns of phrase that are not used, each with what to write in its place. A
finding is one line, ``file:line: word → what to write``; the exit code is 1 where there is one. Code, code spans,
quotations and generated text are not read. Of the tests only the docstrings are read, of the changelog only the newest
section.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
LISTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
READ = (
    *("*.md", "docs/**/*.md", "examples/**/*.md", "tests/**/*.md", "helm/**/*.md"),
    *("helm/**/NOTES.txt", "helm/*/values.yaml", "Makefile"),
)
READ_PYTHON = ("service/holdfast/**/*.py", "helm/*.py", "tests/**/*.py")
#: Generated files, and the tests' peers, which are other projects.
NOT_OURS = ("docs/configuration.md", "helm/holdfast/README.md", "service/holdfast/api/", "tests/peers/bin/")

GAP = "\0"  # in place of code: a phrase does not continue across it
QUOTES = re.compile(r"""^[a-zA-Z]*(?:\"{3}|'{3}|["'])|(?:\"{3}|'{3}|["'])$""")
CODE_IN_TEXT = re.compile(r"``.*?``|`[^`\n]*`|\"[^\"\n]*\"|\{[^{}\n]*\}", re.DOTALL)
CODE_IN_PAGE = re.compile(
    r"^ *```.*?^ *```|<!-- bench:.*?<!-- /bench -->|<!--.*?-->|`[^`]*`|\"[^\"\n]*\"|\]\([^)]*\)",
    re.DOTALL | re.MULTILINE,
)


def blank(text: str) -> str:
    """Return `text` as a gap of the same lines."""
    return re.sub(r"[^\n]+", GAP, text)


def prose_of(path: str, text: str) -> str:
    """Return the prose of a file, every word on its own line of the file."""
    if path.endswith(".py"):
        return python_prose(text, docstrings_only=path.startswith("tests/"))
    if not path.endswith((".md", ".txt")):
        return "\n".join(line.partition("#")[2] or GAP for line in text.split("\n"))
    if path == "CHANGELOG.md":
        text = "\n## [".join(text.split("\n## [")[:2])
    return CODE_IN_PAGE.sub(lambda code: blank(code[0]), text)


def python_prose(source: str, docstrings_only: bool) -> str:
    """Return docstrings, comments and the strings that have a space."""
    lines = [GAP] * (source.count("\n") + 2)
    try:
        docstrings = set(docstring_places(source))
    except SyntaxError:  # a test's plugin that is broken on purpose
        return ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_comment = token.type == tokenize.COMMENT
        if not is_comment and tokenize.tok_name[token.type] not in ("STRING", "FSTRING_MIDDLE"):
            continue
        if token.start not in docstrings and (docstrings_only or " " not in token.string):
            continue
        words = token.string.lstrip("#:") if is_comment else QUOTES.sub(" ", token.string)
        if token.line[: token.start[1]].strip():  # only what begins its line continues the line above
            words = GAP + words
        for number, line in enumerate(CODE_IN_TEXT.sub(lambda code: blank(code[0]), words).split("\n"), token.start[0]):
            lines[number] = line if lines[number] == GAP else f"{lines[number]} {line}"
    return "\n".join(lines[1:])


def docstring_places(source: str) -> Iterator[tuple[int, int]]:
    """Yield the line and column of each docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            yield node.body[0].lineno, node.body[0].col_offset


def findings(path: str, text: str, lists: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[int, str, str]]:
    """Yield line, words found and what to write in their place."""
    prose = prose_of(path, text)
    words = lists["words"] if path.startswith("tests/") else {**lists["words"], **lists["pages"]}
    for pattern, instead in words.items():
        spaced = pattern.replace(" ", r"\s+")
        for found in re.finditer(rf"(?<![\w.-])(?:{spaced})(?![\w(-])", prose, re.IGNORECASE):
            yield prose.count("\n", 0, found.start()) + 1, " ".join(found[0].split()), instead


def main(names: list[str]) -> int:
    """Print the findings of the named files, or of all; an allowance that nothing needs is one, too."""
    paths = [path.relative_to(ROOT).as_posix() for pattern in READ + READ_PYTHON for path in sorted(ROOT.glob(pattern))]
    paths = [path for path in paths if not path.startswith(NOT_OURS) and (not names or path in names)]
    unused, failed = {name: dict(words) for name, words in LISTS["allowed"].items() if name in paths}, False
    for path in paths:
        allowed = LISTS["allowed"].get(path, {})
        for line, word, instead in sorted(findings(path, (ROOT / path).read_text("utf-8"), LISTS)):
            if word.lower() in allowed:
                unused[path].pop(word.lower(), None)
                continue
            failed = True
            print(f"{path}:{line}: {word} → {instead}")
    for path, word in ((path, word) for path, words in unused.items() for word in words):
        failed = True
        print(f"docs/words.toml: {path}: {word} → nothing needs this allowance")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
