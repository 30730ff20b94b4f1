"""The daemon's own directories: root for what must survive, state for what must not, temp if it has one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from holdfast.errors import BootError


def prepare(root: str, state: str, temp: str) -> None:
    """Make them: root 0700, state 0711 (its sockets are for others), temp 0700 and exported as TMPDIR.

    Raises:
        BootError: one of them cannot be made or used, with what to change.
    """
    _make("root", root, 0o700)
    _make("state", state, 0o711)
    if temp:
        _make("temp", temp, 0o700)
        os.environ["TMPDIR"] = tempfile.tempdir = temp


def _make(key: str, path: str, mode: int) -> None:
    try:
        Path(path).mkdir(mode=mode, parents=True, exist_ok=True)
        if key != "state":  # an existing state directory may be shared on purpose, as containerd leaves it
            os.chmod(path, mode)
    except PermissionError as error:
        if not os.access(path, os.W_OK | os.X_OK):
            raise BootError(f"{key}: {path}: {error.strerror}; give a directory of your own with --{key}") from error
    except OSError as error:
        raise BootError(f"{key}: {path}: {error.strerror}") from error
