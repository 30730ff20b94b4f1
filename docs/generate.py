"""Print what the documentation takes from the code: ``python docs/generate.py [--check]``.

``docs/configuration.md`` comes from ``holdfast.config.schema`` and the config types of the plugins that ship. The
layers in ``docs/design.md`` come from import-linter's contracts in ``pyproject.toml``. ``--check`` writes nothing and
exits with 1 when a file is stale.
"""

from __future__ import annotations

import json
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
from holdfast.config.describe import REQUIRED, Key, expected, keys_of
from holdfast.config.quantity import EXAMPLES, format_duration
from holdfast.config.schema import TIMEOUT_PREFIX, TIMEOUTS, Settings

DOCS = Path(__file__).parent
TARGET = DOCS / "configuration.md"
INTRODUCTION = DOCS / "configuration.in.md"
MARK = "<!-- from here on: docs/generate.py -->\n"
DESIGN = DOCS / "design.md"
CONTRACTS = DOCS.parent / "pyproject.toml"
FROM, TO = "<!-- from here on: docs/generate.py, from pyproject.toml -->\n", "<!-- to here -->\n"


def document(introduction: str, known: Mapping[str, type[msgspec.Struct] | None]) -> str:
    """The whole page."""
    lines = [introduction.rstrip(), "", MARK]
    rows = list(keys_of(Settings))
    plain = [key for key in rows if len(key.path) == 1 and not key.section]
    lines += ["## The daemon", "", *table(plain), ""]
    for section in (key for key in rows if len(key.path) == 1 and key.section):
        lines += [f"## `{section.path[0]}`", "", sentence(section.description), ""]
        lines += [*table(key for key in rows if key.path[0] == section.path[0] and len(key.path) > 1), ""]
    entries = [key for key in rows if key.path[0] == "proxy_plugins" and len(key.path) > 1]
    lines += ["## `proxy_plugins`", "", "`*` stands for the id the plugin gets here.", "", *table(entries), ""]
    lines += ["## `timeouts`", "", *timeouts(), ""]
    lines += ["## `plugins`", "", "Each section is named by its plugin's URI; `holdfast plugins ls` lists them.", ""]
    for uri, type_ in sorted(known.items()):
        if type_ is not None:
            lines += [f"### `{uri}`", "", *table(keys_of(type_)), ""]
    return "\n".join(lines).rstrip() + "\n"


def table(keys: Iterable[Key]) -> Iterator[str]:
    """One row a key."""
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for key in keys:
        if key.section:
            continue
        meaning = sentence(key.description)
        meaning += "".join(f" Example: `{cell(written(example))}`." for example in key.examples)
        yield f"| `{path_words(key.path)}` | {cell(value_words(key))} | {default(key)} | {cell(meaning)} |"


def value_words(key: Key) -> str:
    """Return the allowed values, with their range."""
    return expected(key.info).replace(f" {EXAMPLES['duration']}", "").replace(f" {EXAMPLES['bytes']}", "")


def default(key: Key) -> str:
    """The default as it would be written in the file."""
    if key.default is REQUIRED:
        return "must be given"
    if key.path == ("timeouts",):
        return "see below"
    return f"`{cell(written(key.default))}`"


def timeouts() -> Iterator[str]:
    """Our own timeouts by name."""
    yield "| name | default | time for |"
    yield "|---|---|---|"
    for name, (seconds, meaning) in TIMEOUTS.items():
        yield f"| `{TIMEOUT_PREFIX}{name}` | `{format_duration(seconds)}` | {meaning} |"


def path_words(path: Iterable[str | int]) -> str:
    """A documented key's path: ``grpc.grants[].methods``, ``proxy_plugins.*.type``."""
    return "".join(str(step) if step == "[]" else f".{step}" for step in path).removeprefix(".")


def written(value: object) -> str:
    """A value in YAML's flow form, which JSON is."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def sentence(words: str) -> str:
    """With a capital and a full stop."""
    words = words.rstrip(".")
    first = words.split(" ", 1)[0].rstrip(",;")
    return (words[:1].upper() + words[1:] if first.isalpha() else words) + "." if words else ""


def cell(words: str) -> str:
    """Return text that cannot end a table's cell."""
    return words.replace("|", "\\|").replace("\n", " ")


def design(page: str, pyproject: str) -> str:
    """The page with the contracts of ``pyproject`` between its two marks."""
    head, _, rest = page.partition(FROM)
    _, _, tail = rest.partition(TO)
    rows = [row for made in tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"] for row in contract(made)]
    return "\n".join([head + FROM, *rows, TO + tail])


def contract(made: Mapping[str, Any]) -> Iterator[str]:
    """One contract of import-linter."""
    name = f"**{sentence(made['name'])}**"
    if made["type"] == "layers":
        yield from (name, "", "```")
        for layer in made["layers"]:
            yield layer.replace("(", "").replace(")", "")  # which mark a layer that may be missing
        yield from ("```", "")
        return
    if made["type"] == "forbidden":
        sources = names(module.removesuffix(".*") for module in made["source_modules"])
        name += f" {sources} import none of {names(made['forbidden_modules'])}."
        if free := made.get("ignore_imports"):
            packages = groupby((line.partition(" -> ")[0].rpartition(".") for line in free), itemgetter(0))
            lists = (f"in {names([package])} {names(row[2] for row in rows)}" for package, rows in packages)
            name += f" Exceptions: {'; '.join(lists)}."
    elif made["type"] == "independence":
        name += f" No import between {names(made['modules'])}."
    elif made["type"] != "acyclic_siblings":
        raise ValueError(f"a contract of type {made['type']} has no form here")
    yield from textwrap.wrap(name, 120, break_on_hyphens=False, break_long_words=False)
    yield ""


def names(modules: Iterable[str]) -> str:
    """Modules in a sentence, ours without the package's name."""
    return ", ".join(f"`{module.removeprefix('holdfast.')}`" for module in modules)


def main() -> int:
    """Write or compare; the exit code."""
    from holdfast.plugins import shipped  # not what happens to be installed beside us

    configuration = document(INTRODUCTION.read_text(), {plugin.uri: plugin.config for plugin in shipped()})
    stale = 0
    for page, text in ((TARGET, configuration), (DESIGN, design(DESIGN.read_text(), CONTRACTS.read_text()))):
        if page.exists() and page.read_text() == text:
            continue
        if "--check" in sys.argv[1:]:
            sys.stderr.write(f"docs/{page.name} is stale: run `make docs`\n")
            stale = 1
        else:
            page.write_text(text)
    return stale


if __name__ == "__main__":
    sys.exit(main())
