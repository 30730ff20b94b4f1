"""One object for equal texts, as with `sys.intern`, for texts that others choose: these are forgotten again.

A text in `sys.intern` stays for good from Python 3.12 on, and processes and pods choose names without end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

LONGEST = 256  # of a key; longer ones are seldom the same
K = TypeVar("K", str, bytes)


class Interned(Generic[K]):
    """Cache of texts. Call it with a text, or with bytes that ``make`` turns into one. At ``most`` entries it is
    emptied.

    Any thread may call it.
    """

    def __init__(self, make: Callable[[K], str], most: int = 4096) -> None:
        self._make: Callable[[K], str] = make
        self._most = most
        self._known: dict[K, str] = {}

    def __call__(self, key: K) -> str:
        """The text, as one object while it is known."""
        text = self._known.get(key)
        if text is None:
            text = self._make(key)
            if len(key) <= LONGEST:
                if len(self._known) >= self._most:
                    self._known.clear()
                self._known[key] = text
        return text

    def __len__(self) -> int:
        return len(self._known)
