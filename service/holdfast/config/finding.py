"""Warnings about a configuration that the daemon accepts, but that its author probably did not mean."""

from __future__ import annotations

from msgspec import Struct

from holdfast.config.document import Node, Path, key_words


class Finding(Struct, frozen=True):
    """One warning and the place it is about (``config.yaml:12``, or empty)."""

    where: str
    words: str

    def __str__(self) -> str:
        """The line for the log."""
        return f"{self.where}: {self.words}" if self.where else self.words

    @property
    def as_warning(self) -> str:
        """The line as compilers print it: ``config.yaml:12: warning: …``."""
        return f"{self.where}: warning: {self.words}" if self.where else f"warning: {self.words}"


class Remark(Struct, frozen=True):
    """Remark of a plugin on its own section: the key's path from the section, what is wrong, and what to do.

    It is a warning, or with ``fatal`` the reason why the section is refused.
    """

    path: Path
    words: str
    fatal: bool = False

    def placed(self, section: Node, above: Path) -> Finding:
        """The remark with its file and line; a key that is not in the file has its nearest ancestor's."""
        return Finding(section.nearest(self.path).where, f"{key_words((*above, *self.path))}: {self.words}")
