"""Reading configuration files: within limits, and all from one version of a mounted ConfigMap.

The kubelet swaps a ConfigMap by renaming a link over ``..data``. A `Snapshot` opens the target of ``..data`` once per
directory and reads every file through that descriptor, so a swap in between cannot mix two versions; if the old version
is deleted meanwhile, a read fails and the caller takes a new snapshot.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable
from types import TracebackType

from holdfast.errors import ConfigError, reason_of

DATA_LINK = "..data"
MAX_FILE = 1 << 20  # bytes, a ConfigMap's own limit
STDIN = "/dev/stdin"
_STREAMS = (STDIN, "/dev/fd/")

#: Files behind patterns, each with what distinguishes one version of it from another (nothing for a missing file).
Fingerprint = tuple[tuple[str, tuple[int, ...]], ...]


class SnapshotLost(Exception):
    """The version this snapshot holds is being deleted while it is read."""


class Snapshot:
    """Context manager that reads files of one version."""

    def __init__(self) -> None:
        self._data: dict[str, int] = {}  # directory → descriptor of its ..data, -1 without one
        self.listed: dict[str, tuple[int, ...]] = {}  # every absolute path seen, with its stamp once it was read

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._data.values():
            if descriptor >= 0:
                os.close(descriptor)
        self._data.clear()

    def read(self, path: str) -> str:
        """The text of a file.

        Raises:
            ConfigError: one line that says why it cannot be read.
            SnapshotLost: it was there, in a version of the ConfigMap that is gone.
        """
        try:
            data = self._bytes(path)
        except OSError as error:
            raise ConfigError(f"{_loading(path)}: open {path}: {reason_of(error)}") from error
        if len(data) > MAX_FILE:
            raise ConfigError(f"{path}: larger than {MAX_FILE} bytes; no configuration is")
        return _text(path, data)

    def glob(self, pattern: str) -> list[str]:
        """Files that match, sorted; hidden ones and directories are left out."""
        through, rest = self._pinned(pattern)
        found = sorted(path for path in glob.glob(through + rest) if not os.path.isdir(path))
        visible = pattern[: len(pattern) - len(rest)]
        paths = [visible + path.removeprefix(through) for path in found]
        for path in map(absolute, paths):
            self.listed.setdefault(path, ())
        return paths

    def holds(self, now: Fingerprint) -> bool:
        """Whether the files are still those that were read, and no other has appeared."""
        return self.still(now) and all(path in self.listed for path, stamp in now if stamp)

    def still(self, now: Fingerprint) -> bool:
        """Whether the files that were read are unchanged; other files may have appeared."""
        stamps = dict(now)
        return all(stamps.get(path) == stamp for path, stamp in self.listed.items() if stamp)

    def _bytes(self, path: str) -> bytes:
        through, rest = self._pinned(path)
        blocking = is_stream(path)  # elsewhere a FIFO without a writer would hang us before we can refuse it
        try:
            descriptor = os.open(through + rest, os.O_RDONLY | os.O_CLOEXEC | (0 if blocking else os.O_NONBLOCK))
        except FileNotFoundError:
            if self._superseded(through):
                raise SnapshotLost(path) from None
            raise
        try:
            found = os.fstat(descriptor)
            self.listed[absolute(path)] = () if blocking or stat.S_ISDIR(found.st_mode) else _stamp(found)
            return _contents(descriptor, path)
        finally:
            os.close(descriptor)

    def _superseded(self, through: str) -> bool:
        """Whether ``..data`` leads elsewhere by now; the kubelet deletes the old version's files one by one."""
        for directory, descriptor in self._data.items():
            if descriptor >= 0 and _through(descriptor) == through:
                try:
                    return not os.path.samestat(os.stat(f"{directory}/{DATA_LINK}"), os.fstat(descriptor))
                except OSError:
                    return True
        return False

    def _pinned(self, path: str) -> tuple[str, str]:
        """``path`` in two parts: the descriptor that stands for its ``..data`` directory (or nothing), and the rest."""
        end = path.find("/", 1)
        while end >= 0 or not path.startswith("/"):
            directory, rest = (path[:end], path[end:]) if end >= 0 else (".", f"/{path}")
            first = rest[1:].partition("/")[0]
            if _link_target(f"{directory}/{first}") == f"{DATA_LINK}/{first}":
                descriptor = self._descriptor(directory)
                if descriptor >= 0:
                    return _through(descriptor), rest
            if end < 0:
                break
            end = path.find("/", end + 1)
        return "", path

    def _descriptor(self, directory: str) -> int:
        if directory not in self._data:
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                self._data[directory] = os.open(os.path.join(directory, DATA_LINK), flags)
            except OSError:
                self._data[directory] = -1
        return self._data[directory]


def fingerprint(patterns: Iterable[str]) -> Fingerprint:
    """The files behind absolute paths and globs as they are now."""
    paths: list[str] = []
    for pattern in patterns:
        paths += sorted(glob.glob(pattern)) or [pattern]
    return tuple((path, _stamp_of(path)) for path in dict.fromkeys(paths))


def absolute(path: str) -> str:
    """``path`` made absolute, links not followed."""
    return os.path.normpath(os.path.join(os.getcwd(), path))


def _stamp_of(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return () if path.startswith(_STREAMS) or stat.S_ISDIR(found.st_mode) else _stamp(found)


def is_stream(path: str) -> bool:
    """Whether ``path`` is an open descriptor: it can be read once, and has no directory of its own."""
    return path.startswith(_STREAMS)


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _through(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _link_target(path: str) -> str:
    try:
        return os.readlink(path)
    except (OSError, ValueError):
        return ""


def _contents(descriptor: int, path: str) -> bytes:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "is a directory", path)
    if not stat.S_ISREG(mode) and not is_stream(path):
        raise OSError(22, "not a regular file", path)
    data = b""
    while len(data) <= MAX_FILE:
        chunk = os.read(descriptor, MAX_FILE + 1 - len(data))
        if not chunk:
            break
        data += chunk
    return data


def _text(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}") from None


def _loading(path: str) -> str:
    return f"failed to load {'TOML' if path.endswith('.toml') else 'YAML'}: {path}"
