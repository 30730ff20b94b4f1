"""Our own process's heap."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # malloc.h


def give_back() -> None:
    """Return to the kernel what the C library keeps of freed memory: malloc_trim(3); half a millisecond, any thread.

    After something large that comes seldom. glibc keeps the pages between what is in use, and what passed through once
    would stay resident for ever; a libc without the call keeps nothing of that size.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def share_arena() -> None:
    """Have every thread allocate from one arena: mallopt(3), before they start.

    glibc gives each thread its own, up to eight a processor, and what passed through one stays with it: 2 MiB of gRPC's
    threads after 8 s of calls by 64 callers. Python's small objects do not come from there.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)
