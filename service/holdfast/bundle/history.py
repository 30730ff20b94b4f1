"""The current bundle, the earlier ones, and the change in progress: one small file, replaced as a whole.

    {"now": {"applied": [oldest, …, current], "undone": …, "leaving": [digest, …]}, "next": null}

A change writes ``next``, swaps the link ``current`` (that is the commit), and writes the value of ``next`` as ``now``.
After a kill the link says which of the two is valid. A `History` is an immutable value; `HistoryFile` owns the file.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from holdfast.errors import FailedPrecondition, InvalidArgument
from holdfast.store.content.ingest import disk, sync

_MAX = 1 << 20  # bytes


class AppliedBundle(msgspec.Struct, frozen=True):
    """One bundle that was applied; ``at_ns`` in nanoseconds since 1970."""

    digest: str
    name: str
    at_ns: int


class History(msgspec.Struct, frozen=True):
    """The applied bundles, the current one last; ``undone`` is the bundle that the last rollback undid.

    ``leaving`` are the digests of forgotten bundles whose content is not released yet.
    """

    applied: tuple[AppliedBundle, ...] = ()
    undone: AppliedBundle | None = None
    leaving: tuple[str, ...] = ()

    @property
    def current(self) -> AppliedBundle | None:
        """The bundle in force."""
        return self.applied[-1] if self.applied else None

    @property
    def entries(self) -> tuple[AppliedBundle, ...]:
        """All remembered bundles: the current one, earlier ones newest first, the one undone."""
        return (*reversed(self.applied), *((self.undone,) if self.undone else ()))

    def after_applying(self, entry: AppliedBundle, keep: int) -> History:
        """Return the history with ``entry`` in force and ``keep`` earlier ones."""
        earlier = tuple(one for one in self.applied if one.digest != entry.digest)
        return self._followed_by(History((*earlier[-keep:], entry)))

    def after_rollback(self) -> History:
        """Return the history with the previous bundle in force.

        Raises:
            FailedPrecondition: there is none.
        """
        if len(self.applied) < 2:
            raise FailedPrecondition("there is no bundle before the current one; apply another one instead")
        return self._followed_by(History(self.applied[:-1], self.applied[-1]))

    def without(self, gone: Collection[str]) -> History:
        """Return the history without these in ``leaving``."""
        return History(self.applied, self.undone, tuple(one for one in self.leaving if one not in gone))

    def _followed_by(self, coming: History) -> History:
        stay = {entry.digest for entry in coming.entries}
        left = dict.fromkeys((*self.leaving, *(entry.digest for entry in self.entries)))
        return History(coming.applied, coming.undone, tuple(one for one in left if one not in stay))


class _State(msgspec.Struct, frozen=True):
    now: History = History()
    next: History | None = None


class HistoryFile:
    """The history's file. Raises `ResourceExhausted` when the disk is full; the file is then unchanged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.now = History()

    def load(self, current: str) -> None:
        """Read the file; ``current`` is the digest the link names, empty when there is none.

        Raises:
            InvalidArgument: the file cannot be parsed.
        """
        try:
            with self._path.open("rb") as file:
                state = msgspec.json.decode(file.read(_MAX), type=_State)
        except FileNotFoundError:
            state = _State()
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"{self._path}: {error}; remove it, and apply a bundle again") from error
        coming = state.next
        committed = coming is not None and coming.current is not None and coming.current.digest == current
        self.now = coming if committed and coming is not None else state.now
        if coming is not None:
            self._write(_State(self.now))

    def announce(self, coming: History) -> None:
        """Write ``coming`` as the next history."""
        self._write(_State(self.now, coming))

    def confirm(self, reached: History) -> None:
        """Write ``reached`` as the history in force."""
        self.now = reached
        self._write(_State(reached))

    def _write(self, state: _State) -> None:
        fresh = self._path.with_name(f".{self._path.name}.new")
        with disk("bundle history"):
            with fresh.open("wb") as file:
                file.write(msgspec.json.encode(state))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self._path)
            sync(self._path.parent)
