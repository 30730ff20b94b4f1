"""Trusted directories and sockets: only root and the daemon can add or exchange files in them.

Each directory from the root to the last must belong to root or to us, and no other user may be able to write to it: not
by the mode for others, not by a group other than root's (for a daemon that is not root: or its own), and not by an
access list (acl(5)). A link on the way must be root's or ours. A sticky directory, as /tmp, passes: other users can
make files in it, not remove or rename ours. Each step is opened in the one before, so that the directory that was
checked is the one that is used.
"""

from __future__ import annotations

import errno
import os
import stat

from holdfast.errors import Untrusted

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as the kernel follows, path_resolution(7)


def open_trusted(path: str) -> int:
    """Return an O_PATH descriptor of a directory; links in ``path`` are followed if they are root's or ours.

    Raises:
        Untrusted: another user can write to the directory or to one above it, or owns a link; the message names both.
        OSError: it cannot be opened.
    """
    left = os.path.join(os.getcwd(), path).split("/")[::-1]
    current, walked, links = os.open("/", _DIRECTORY), "/", 0
    try:
        _check(current, walked)
        while left:
            if (part := left.pop()) in ("", "."):
                continue
            try:
                following = os.open(part, _DIRECTORY, dir_fd=current)
            except NotADirectoryError:
                links += 1
                target = _trusted_link(current, part, walked, links)
                left += target.split("/")[::-1]
                following, part = os.open("/" if target.startswith("/") else ".", _DIRECTORY, dir_fd=current), ""
                walked = "/" if target.startswith("/") else walked
            os.close(current)
            current = following
            walked = os.path.normpath(os.path.join(walked, part))
            _check(current, walked)
    except BaseException:
        os.close(current)
        raise
    return current


def _trusted_link(directory: int, name: str, path: str, number: int) -> str:
    """Return where a link leads, whose owner may exchange it; NotADirectoryError: it is no link."""
    found = os.lstat(name, dir_fd=directory)
    where = os.path.join(path, name)
    if not stat.S_ISLNK(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), where)
    if number > _MOST_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), where)
    if found.st_uid not in (0, os.geteuid()):
        raise Untrusted(f"{where} is a link of uid {found.st_uid}; remove it, or use another directory")
    return os.readlink(name, dir_fd=directory)


def refuse_untrusted(socket: str) -> None:
    """Check that the program behind a unix socket, to which the daemon connects, is one that root started.

    Raises:
        Untrusted: the socket or a link to it belongs to another user, or one could exchange it.
        OSError: it is not there.
    """
    for path in (socket, os.path.realpath(socket)):
        os.close(open_trusted(os.path.dirname(path)))
        owner = os.lstat(path).st_uid
        if owner not in (0, os.geteuid()):
            raise Untrusted(f"{path} belongs to uid {owner}; a socket of root's is needed")


def _check(directory: int, path: str) -> None:
    found, ours = os.fstat(directory), os.geteuid()
    if found.st_uid not in (0, ours):
        raise Untrusted(f"{path} belongs to uid {found.st_uid}; use a directory of root's, or chown this one")
    if found.st_mode & stat.S_ISVTX:
        return
    if found.st_mode & stat.S_IWOTH:
        raise Untrusted(f"every user may write to {path}; chmod o-w it, or use another directory")
    if found.st_mode & stat.S_IWGRP and found.st_gid not in ((0,) if ours == 0 else (0, os.getegid())):
        raise Untrusted(f"group {found.st_gid} may write to {path}; chmod g-w it, or use another directory")
    if found.st_mode & stat.S_IWGRP and _has_access_list(directory):
        raise Untrusted(f"the access list of {path} lets others write; setfacl -b it, or use another directory")


def _has_access_list(directory: int) -> bool:
    """Whether the group's bits of the mode are the mask of users and groups that a list names."""
    try:
        return bool(os.getxattr(f"/proc/self/fd/{directory}", "system.posix_acl_access"))
    except OSError:  # none, or this file system has none
        return False
