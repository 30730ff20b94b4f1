"""One object for equal texts, as `sys.intern` gives, for texts that others choose: these are forgotten again.

What `sys.intern` knows stays for good from Python 3.12 on, and processes and pods choose names without end.
"""

from __future__ import annotations

LONGEST = 256  # longer ones are seldom the same


class Interned:
    """Call it with a text. It knows `most` of them, and then begins anew. For any thread."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The text, or one equal to it that is known."""
        known = self._known.get(text)
        if known is not None:
            return known
        if len(text) <= LONGEST:
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[text] = text
        return text

    def __len__(self) -> int:
        return len(self._known)
