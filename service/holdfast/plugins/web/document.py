"""The static file around the content of each page. Its style and its script are allowed by their hashes, and nothing
else is: a text that got through as markup would neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from pathlib import Path

from holdfast.plugin.services import Page

_MARK = re.compile(r"\{\{(\w+)\}\}")


class Document:
    """The file, read once."""

    def __init__(self) -> None:
        self._text = Path(__file__).with_name("page.html").read_text("utf-8")
        self.policy = (
            f"style-src '{_hash(self._part('style'))}'",
            f"script-src '{_hash(self._part('script'))}'",
            "connect-src 'self'",
            "img-src data:",
        )

    def _part(self, tag: str) -> str:
        return self._text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]

    def page(self, title: str, main: str, footer: str, status: int = 200) -> Page:
        """Return a page. ``title`` is text; ``main`` and ``footer`` are HTML."""
        parts = {"title": escape(title), "main": main, "footer": footer}
        return Page(_MARK.sub(lambda mark: parts[mark[1]], self._text).encode(), status, policy=self.policy)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
