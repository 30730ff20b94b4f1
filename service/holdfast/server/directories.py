"""The daemon's own directories: root for files that survive a restart, state for those that do not survive a reboot,
temp if set.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from holdfast.errors import BootError
from holdfast.listener.trust import open_trusted


def prepare(root: str, state: str, temp: str) -> None:
    """Create the directories: root 0700, state 0711 (its sockets are for others), temp 0700 and exported as TMPDIR.

    An existing directory must belong to us or to root, and no other user may write to it: the default directories of an
    unprivileged daemon have names that another user could take first.

    Raises:
        BootError: one of them cannot be made, or must not be trusted, with what to change.
    """
    _make("root", root, 0o700)
    _make("state", state, 0o711)
    if temp:
        _make("temp", temp, 0o700)
        os.environ["TMPDIR"] = tempfile.tempdir = temp


def _make(key: str, path: str, mode: int) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        before = os.umask(0)
        try:
            os.mkdir(path, mode)
            made = True
        except FileExistsError:
            made = False
        finally:
            os.umask(before)
        _check_trusted(key, path)
        if not made and key != "state":  # an existing state directory may be shared on purpose, as containerd leaves it
            os.chmod(path, mode)
    except OSError as error:
        raise BootError(f"{key}: {path}: {error.strerror}; give a directory of your own with --{key}") from error


def _check_trusted(key: str, path: str) -> None:
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):  # an operator may link a directory elsewhere; another user may not do it for us
        if found.st_uid not in (0, os.geteuid()):
            raise BootError(f"{key}: {path}: is a link of uid {found.st_uid}; remove it, or give another with --{key}")
        found = os.stat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise BootError(f"{key}: {path}: is not a directory")
    try:
        os.close(open_trusted(path))
    except BootError as error:
        raise BootError(f"{key}: {path}: {error}, with --{key}") from None
