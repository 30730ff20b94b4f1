"""Detection of changed configuration files: inotify on their directories, and a check every ten seconds in any case.

Rules, learnt from what the kubelet and editors do (https://man7.org/linux/man-pages/man7/inotify.7.html):

- The *directory* is watched. A mounted ConfigMap changes by a rename over ``..data``, so the file's own name appears in
  no event, and a watch on the file dies with the old version. Editors rename over the file as well.
- An event only triggers a check. The fingerprint decides: which files there are, and their inode, size and time.
- Events come in bursts; the check follows when a directory has been quiet for a moment, or a second after the first
  event.
- Watches run out on busy nodes, and network file systems send no events: hence the check every ten seconds.
- A check without events may come while a file is being written: a change counts when it has not changed further for a
  moment.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from fnmatch import fnmatch
from glob import glob
from types import TracebackType

from holdfast import log
from holdfast.config.source import DATA_LINK, Fingerprint, fingerprint

LOG = log.named(__name__)
POLL_S = 10.0
QUIET_S = 0.1
LATEST_S = 1.0
MAX_LINKS = 40  # the kernel's own bound (path_resolution(7))

_EVENT = struct.Struct("iIII")
_OVERFLOW = 0x4000
# CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF | ONLYDIR
_MASK = 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800 | 0x01000000


async def changes(
    patterns: Iterable[str] | Callable[[], Iterable[str]], since: Fingerprint | None = None, *, poll_s: float = POLL_S
) -> AsyncIterator[None]:
    """Yield each time the files behind ``patterns`` have changed.

    ``patterns`` are paths and globs (`Loaded.patterns`), or a function that is called for them before each check: a
    reload may bring new imports, and the first check with those yields once more. ``since`` is the version that was
    read (`Loaded.fingerprint`): a change between that load and this call is the first to be yielded. Never raises for
    errors of the file system.
    """
    fixed = () if callable(patterns) else tuple(patterns)
    wanted = patterns if callable(patterns) else lambda: fixed
    with Watcher(wanted()) as watcher:
        before = since if since is not None else fingerprint(watcher.patterns)
        is_quiet = False
        while True:
            watcher.follow(wanted())
            now = fingerprint(watcher.patterns)
            if now != before:
                before = now if is_quiet else await _at_rest(watcher.patterns, now)
                is_quiet = False
                yield
                continue
            is_quiet = await watcher.wait(poll_s)


async def _at_rest(patterns: Iterable[str], now: Fingerprint) -> Fingerprint:
    """Return the version that stays for a moment, or the one after a second."""
    for _ in range(round(LATEST_S / QUIET_S)):
        await asyncio.sleep(QUIET_S)
        before, now = now, fingerprint(patterns)
        if now == before:
            break
    return now


def directories(patterns: Iterable[str]) -> dict[str, set[str]]:
    """Directories to watch, each with the name patterns that matter in it."""
    wanted: dict[str, set[str]] = {}
    for pattern in patterns:
        for path in {pattern, *glob(pattern)}:
            for one in links_of(path):
                parent, name = os.path.split(one)
                wanted.setdefault(parent or ".", {DATA_LINK}).add(name)
                if not os.path.isdir(parent or "."):  # conf.d may come later
                    above, directory = os.path.split(parent)
                    wanted.setdefault(above or "/", {DATA_LINK}).add(directory)
    return wanted


def links_of(path: str) -> Iterator[str]:
    """Yield ``path``, every link on the way from it to the file, and the file: each can be renamed over."""
    yield path
    rest = os.path.join(os.getcwd(), path).split("/")[:0:-1]  # components, the next one last
    at = ""
    links = 0
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            at = os.path.dirname(at)
            continue
        try:
            target = os.readlink(f"{at}/{part}")
        except OSError:  # no link
            at = f"{at}/{part}"
            continue
        links += 1
        if links > MAX_LINKS:
            return
        yield f"{at}/{part}"
        rest += target.split("/")[::-1]
        at = "" if target.startswith("/") else at
    yield at


class Watcher:
    """One inotify descriptor in the running loop; without one (limits, no inotify) `wait` only waits for the time to
    pass.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns: tuple[str, ...] = ()
        self._loop = asyncio.get_running_loop()
        self._touched = asyncio.Event()
        self._said = False
        self._names: dict[int, set[str]] = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = int(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._descriptor < 0:
            self._say("inotify_init1")
        else:
            self._loop.add_reader(self._descriptor, self._drain)
        self.follow(patterns)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def follow(self, patterns: Iterable[str]) -> None:
        """Watch these patterns from now on; a second call with the same ones follows links and new directories."""
        self.patterns = tuple(patterns)
        self._watch()

    async def wait(self, poll_s: float) -> bool:
        """Return True after events and a quiet moment, False after ``poll_s`` without any."""
        try:
            async with asyncio.timeout(poll_s):
                await self._touched.wait()
        except TimeoutError:
            return False
        await self._settle()
        return True

    async def _settle(self) -> None:
        latest = self._loop.time() + LATEST_S
        while self._touched.is_set() and self._loop.time() < latest:
            self._touched.clear()
            try:
                async with asyncio.timeout(QUIET_S):
                    await self._touched.wait()
            except TimeoutError:
                break
        self._touched.clear()

    def _watch(self) -> None:
        """Watch the directories there are now; adding one again changes nothing, so this follows swaps and new
        directories.
        """
        if self._descriptor < 0:
            return
        names: dict[int, set[str]] = {}
        for directory, wanted in directories(self.patterns).items():
            watch = int(self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _MASK))
            if watch >= 0:
                names.setdefault(watch, set()).update(wanted)
            elif os.path.isdir(directory):
                self._say(f"inotify_add_watch {directory}")
        self._names = names

    def _drain(self) -> None:
        try:
            data = os.read(self._descriptor, 64 * 1024)
        except BlockingIOError:
            return
        at = 0
        while at + _EVENT.size <= len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            name = os.fsdecode(data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0"))
            at += _EVENT.size + length
            if mask & _OVERFLOW or not name or self._matters(watch, name):
                self._touched.set()

    def _matters(self, watch: int, name: str) -> bool:
        return any(fnmatch(name, wanted) for wanted in self._names.get(watch, ()))

    def _say(self, call: str) -> None:
        if self._said:
            return
        self._said = True
        reason = os.strerror(ctypes.get_errno())
        LOG.warning("cannot watch the configuration; checking it every few seconds instead", call=call, error=reason)
