"""Trusted directories for sockets and state: only root and the daemon can add or exchange files in them.

Each directory from the root to the last must belong to root or to us, and no other user may be able to write to it: not
by the mode for others, and not by a group other than root's (for a daemon that is not root: or its own). A sticky
directory, as /tmp, passes: other users can make files in it, not remove or rename ours. Each step is opened in the one
before, so that the directory that was checked is the one that is used.
"""

from __future__ import annotations

import os
import stat

from holdfast.errors import BootError


def open_trusted(path: str) -> int:
    """Return an O_PATH descriptor of a directory; links in ``path`` are followed.

    Raises:
        BootError: another user can write to the directory or to one above it; the message names both.
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
        raise BootError(f"every user may write to {path}; chmod o-w it, or use another directory")
    if found.st_mode & stat.S_IWGRP and found.st_gid not in ((0,) if ours == 0 else (0, os.getegid())):
        raise BootError(f"group {found.st_gid} may write to {path}; chmod g-w it, or use another directory")
