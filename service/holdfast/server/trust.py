"""Directories that nobody but root and the daemon can put anything into, or exchange: where sockets and state may lie.

Each directory from the root to the last must be root's or ours, and writable by no other: not by others, and not by a
group but root's (for a daemon that is not root: its own). A sticky one, as /tmp, passes: others can make files in it,
not remove or rename ours. Each step is opened in the one before, so that what was checked is what is used.
"""

from __future__ import annotations

import os
import stat

from holdfast.errors import BootError


def open_trusted(path: str) -> int:
    """An O_PATH descriptor of a directory, links in ``path`` followed.

    Raises:
        BootError: the directory, or one above it, can be written to by another; with which and whom.
        OSError: it cannot be opened.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    real = os.path.realpath(path)
    current, walked = os.open("/", flags), "/"
    try:
        _check(current, walked)
        for part in real.split("/"):
            if part:
                walked = os.path.join(walked, part)
                following = os.open(part, flags, dir_fd=current)
                os.close(current)
                current = following
                _check(current, walked)
    except BaseException:
        os.close(current)
        raise
    return current


def _check(directory: int, path: str) -> None:
    found, ours = os.fstat(directory), os.geteuid()
    if found.st_uid not in (0, ours):
        raise BootError(f"{path} belongs to uid {found.st_uid}; use a directory of root's, or chown this one")
    if found.st_mode & stat.S_ISVTX:
        return
    if found.st_mode & stat.S_IWOTH:
        raise BootError(f"anybody may write to {path}; chmod o-w it, or use another directory")
    if found.st_mode & stat.S_IWGRP and found.st_gid not in ((0,) if ours == 0 else (0, os.getegid())):
        raise BootError(f"group {found.st_gid} may write to {path}; chmod g-w it, or use another directory")
