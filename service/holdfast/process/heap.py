"""Our own process's heap."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return to the kernel what the C library keeps of freed memory: malloc_trim(3); half a millisecond, any thread.

    After something large that comes seldom. glibc keeps the pages between what is in use, and what passed through once
    would stay resident for ever; a libc without the call keeps nothing of that size.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
