"""The last configuration that took effect, kept in root for a start that finds the files broken.

One file, ``<root>/last-good-config.json``: the joined content of the files, without the command line; the main file's
path; the time it took effect, its hash, and a checksum. The file is replaced whole, with two fsyncs, and only by
a configuration that was accepted; if the new one cannot be kept (a full disk), the old one is removed. So the restored
configuration is never older than the one before the mistake. The file is used for its main file alone, and only if no
other user could have written it. ``docs/decisions/last-good.md`` has the reasons.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress

import msgspec
from msgspec import Struct

from holdfast import config, log
from holdfast.config.digest import sha256_hex
from holdfast.config.document import Node, Source
from holdfast.errors import BootError, ConfigError, HoldfastError
from holdfast.trust import open_trusted

LOG = log.named(__name__)
NAME = "last-good-config.json"
_NEW = f"{NAME}.new"
FORMAT = 1
MAX_BYTES = 8 << 20  # eight ConfigMaps


class LastGood(Struct, frozen=True):
    """Content of the file. ``hash`` is that of the effective settings at that time, ``checksum`` (SHA-256)
    of ``tree``.
    """

    format: int
    source: str
    taken_unix_ns: int
    hash: str
    lenient: bool
    short_ids: bool
    checksum: str
    tree: msgspec.Raw
    version: int = 0  # of containerd's configuration, the oldest of all files; 0: our own

    @property
    def age(self) -> str:
        """Time since it took effect, in one unit: ``40s``, ``12m``, ``7h``, ``3d``."""
        seconds = max(0, time.time_ns() - self.taken_unix_ns) // 1_000_000_000
        for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
            if seconds >= 2 * length:
                return f"{seconds // length}{unit}"
        return f"{seconds}s"

    def loaded(self, overrides: config.Overrides) -> config.Loaded:
        """Return its settings under this command line.

        Raises:
            ConfigError: this version of the daemon no longer accepts them.
        """
        source = Source(f"the last good {self.source}", self.lenient, self.short_ids, self.version)
        return config.revived(msgspec.json.decode(self.tree), source, overrides)

    def says(self, loaded: config.Loaded) -> bool:
        """Whether its content equals that of the files of ``loaded``."""
        with suppress(ConfigError):
            return self.checksum == sha256_hex(_encoded(loaded))
        return False


def kept(root: str, source: str) -> LastGood | None:
    """The configuration kept in ``root`` for the file ``source``; None if there is none, or no usable one (logged)."""
    try:
        directory = open_trusted(root)
    except (BootError, OSError, ValueError):  # no root yet, or one that the boot refuses
        return None
    try:
        return _read(directory, source)
    except FileNotFoundError:
        return None
    except (OSError, HoldfastError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        LOG.warning("the last good configuration cannot be used", file=f"{root}/{NAME}", error=words)
        return None
    finally:
        os.close(directory)


def keep(root: str, source: str, loaded: config.Loaded, taken_unix_ns: int) -> None:
    """Keep ``loaded`` as the last good configuration of the file ``source``; an equal one keeps its time. Blocks.

    Raises:
        ConfigError: it has values that would not be read back the same, or is too large; nothing is kept.
        OSError: it cannot be written; nothing is kept.
    """
    try:
        tree = _encoded(loaded)
        checksum = sha256_hex(tree)
        before = kept(root, source)
        if before is None or before.checksum != checksum:
            _replace(root, _content(source, loaded, taken_unix_ns, tree, checksum))
    except (ConfigError, OSError):
        for name in (NAME, _NEW):  # an older one may be more permissive, and half a file takes room on a full disk
            with suppress(OSError):
                os.unlink(f"{root}/{name}")
        raise
    LOG.debug("last good configuration kept", source=source, hash=loaded.short_hash)


def _content(source: str, loaded: config.Loaded, taken_unix_ns: int, tree: bytes, checksum: str) -> bytes:
    sources = [one.source for one in _nodes_of(loaded)]
    fresh = LastGood(
        FORMAT,
        source,
        taken_unix_ns,
        loaded.content_hash,
        any(one.lenient for one in sources),
        loaded.short_ids,
        checksum,
        msgspec.Raw(tree),
        min((one.version for one in sources if one.version), default=0),
    )
    data = msgspec.json.encode(fresh)
    if len(data) > MAX_BYTES:
        raise ConfigError(f"it has {len(data)} bytes, more than {MAX_BYTES}")
    return data


def _replace(root: str, data: bytes) -> None:
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _write(directory, data)
    finally:
        os.close(directory)


def _write(directory: int, data: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(_NEW, dir_fd=directory)  # left by a run that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(_NEW, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(_NEW, NAME, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def _read(directory: int, source: str) -> LastGood | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(NAME, flags, dir_fd=directory), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError("it is not a regular file")
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise ConfigError(f"uid {found.st_uid} owns it with mode {stat.S_IMODE(found.st_mode):04o}; expected 0600")
        if found.st_size > MAX_BYTES:
            raise ConfigError(f"it is larger than {MAX_BYTES} bytes")
        data = file.read(MAX_BYTES + 1) or b""
    try:
        last = msgspec.json.decode(data, type=LastGood)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"it is damaged: {error}") from None
    if last.format != FORMAT:
        raise ConfigError(f"it has format {last.format}; this version reads {FORMAT}")
    if sha256_hex(bytes(last.tree)) != last.checksum:
        raise ConfigError("it is damaged: its checksum is another")
    return last if last.source == source else None


def _encoded(loaded: config.Loaded) -> bytes:
    plain = loaded.given.plain()
    try:
        data = msgspec.json.encode(plain)  # in the order of the files: it is that of plugins and rules
        if msgspec.json.decode(data) == plain:
            return data
    except (msgspec.MsgspecError, OverflowError, TypeError, ValueError):
        pass
    raise ConfigError("it has values that JSON does not have")


def _nodes_of(loaded: config.Loaded) -> list[Node]:
    found = [loaded.given]
    for node in found:
        found += [inner for _, inner in node.children()]
    return found
