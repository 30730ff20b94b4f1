"""Our own process's heap."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # malloc.h


def give_back() -> None:
    """Return freed memory that the C library keeps to the kernel: malloc_trim(3); half a millisecond, any thread.

    Called after a large, rare operation. glibc keeps free pages between used ones, so memory that was used once would
    stay resident forever; a libc without the call keeps nothing of that size.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def share_arena() -> None:
    """Make all threads allocate from one arena: mallopt(3), before they start.

    glibc gives each thread its own, up to eight a processor, and an arena keeps its freed memory: 2 MiB of gRPC's
    threads after 8 s of calls by 64 callers. Python's small objects do not come from there.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)
