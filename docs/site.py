"""Hooks of mkdocs for ``mkdocs.yml``: pages that lie outside ``docs/``, and links that lead there.

The pages are written to be read in the repository, where a link may lead to any file. Here a link to a page becomes
the link to that page of the site, and a link to another file leads to the repository. A link to a file that does not
exist is a warning, which fails a strict build.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LOG = logging.getLogger("mkdocs.hooks.site")
SOURCES = "https://github.com/holdfast/holdfast/blob/main/"
#: Pages outside ``docs/`` by their path in the repository, and their path in the site.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "helm/holdfast/README.md": "chart.md",
    **{
        path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix().replace("README.md", "index.md")
        for path in sorted((ROOT / "examples").rglob("README.md"))
    },
}
IN_SITE = {site: source for source, site in OUTSIDE.items()}
FENCE = re.compile(r"^ *```.*?^ *```|``[^`\n]+``|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<before>\]\()(?P<to>(?![a-z]+:|#)[^)\s#]+)(?P<anchor>#[^)\s]*)?(?P<after>\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the sections that are lists of files."""
    examples = [site for source, site in OUTSIDE.items() if source.startswith("examples/")]
    decisions = [f"decisions/{path.name}" for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    config.nav = _filled(config.nav, {"examples": examples, "decisions": sorted(decisions, key=lambda one: one[10:])})
    return config


def _filled(nav: Any, lists: dict[str, list[str]]) -> Any:
    if isinstance(nav, list):
        return [_filled(one, lists) for one in nav]
    if isinstance(nav, dict):
        return {
            title: lists.get(one, one) if isinstance(one, str) else _filled(one, lists) for title, one in nav.items()
        }
    return nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside ``docs/``."""
    from mkdocs.structure.files import File

    for source, site in OUTSIDE.items():
        files.append(File.generated(config, site, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page; code is left as it is."""
    here = page.file.src_uri
    source = IN_SITE.get(here, f"docs/{here}")
    pieces = []
    end = 0
    for code in FENCE.finditer(markdown):
        pieces += [_linked(markdown[end : code.start()], source, here), code[0]]
        end = code.end()
    return "".join([*pieces, _linked(markdown[end:], source, here)])


def _linked(text: str, source: str, here: str) -> str:
    def one(found: re.Match[str]) -> str:
        return "".join([found["before"], target(found["to"], source, here), found["anchor"] or "", found["after"]])

    return LINK.sub(one, text)


def target(link: str, source: str, here: str) -> str:
    """The link in the site, for a link in the page ``source`` of the repository that is ``here`` in the site."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if path in OUTSIDE:
        return _relative(OUTSIDE[path], here)
    if not (ROOT / path).exists():
        LOG.warning("%s: the link %s leads to no file", source, link)
    docs = path.removeprefix("docs/")
    if path != docs and docs.endswith((".md", ".svg", ".png")) and not docs.endswith(".in.md"):
        return _relative(docs, here)
    return SOURCES + path


def _relative(path: str, here: str) -> str:
    return posixpath.relpath(path, posixpath.dirname(here) or ".")
