"""Streams of reports: the reports that each client wants, from its beginning on; `report_log` has the theory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.errors import OutOfRange
from holdfast.node.engine.engine import Engine
from holdfast.node.model.placement import Placement
from holdfast.plugins.node.placement import message
from holdfast.plugins.node.placement.error_reason import reasons
from holdfast.plugins.node.placement.list_maker import SLICE
from holdfast.plugins.node.placement.report_log import ReportLog
from holdfast.plugins.node.placement.selection import Selection, filter_of
from holdfast.plugins.node.placement.shared_run import retrieve_error

BOOKMARK_EVERY = 500  # reports that a watcher does not want: its token is never older


class Watches:
    """The watches of all clients. ``check_engine`` raises while the engine does not work."""

    def __init__(self, reports: ReportLog, engine: Engine, check_engine: Callable[[], None]) -> None:
        self._reports, self._engine, self._check_engine = reports, engine, check_engine
        self._snapshot: asyncio.Future[tuple[tuple[Placement, ...], int]] | None = None

    async def stream(self, request: pb.WatchRequest, context: Any) -> AsyncGenerator[pb.Report, None]:
        """Stream the reports that a client wants; the headers are sent at once, as the sign that it has begun.

        Raises:
            InvalidArgument: the filters or the token are none.
            OutOfRange: reports after the token are lost, and the client wants no snapshot.
            ResourceExhausted: too many clients watch, or this one reads too slowly.
            Unavailable: the engine does not work, and the client wants a snapshot.
        """
        wanted = Selection(pb.Report, filter_of(request.filters, pb.Report))
        with self._reports.watching() as wake:
            number, snapshot = await self._beginning(request)
            await context.send_initial_metadata(())
            if snapshot is not None:
                for at, placed in enumerate(snapshot, 1):
                    await _pause(at)
                    if request.rule in ("", placed.rule) and wanted.matches(present := message.present(placed)):
                        yield present
                snapshot = None  # the stream goes on for long
                yield message.synced(self._reports.token(number))
            elif request.bookmarks:
                yield message.bookmark(self._reports.token(number))
            known = number  # the report that the client's last token names
            while True:
                wake.clear()
                while (report := self._reports.after(number)) is not None:
                    number += 1
                    await _pause(number)
                    token = self._reports.token(number)
                    if request.rule in ("", report.rule) and wanted.matches(sent := message.report(report, token)):
                        known = number
                        yield sent
                    elif request.bookmarks and number - known >= BOOKMARK_EVERY:
                        known = number
                        yield message.bookmark(token)
                await wake.wait()

    async def _beginning(self, request: pb.WatchRequest) -> tuple[int, tuple[Placement, ...] | None]:
        """Return the number of the report after which a watcher begins, and the placements if it wants them."""
        if request.resume_token:
            try:
                return self._reports.number(request.resume_token), None
            except OutOfRange:
                if not request.snapshot:
                    raise
        if not request.snapshot:
            return self._reports.last, None
        self._check_engine()
        if self._snapshot is None:  # one that is being taken serves all watchers that ask meanwhile
            self._snapshot = asyncio.wrap_future(self._engine.snapshot(lambda: self._reports.last))
            self._snapshot.add_done_callback(self._forget_snapshot)
        with reasons():
            placed, number = await asyncio.shield(self._snapshot)
        return number, placed

    def _forget_snapshot(self, taken: asyncio.Future[Any]) -> None:
        self._snapshot = None
        retrieve_error(taken)


async def _pause(at: int) -> None:
    """Let the loop serve others at each `SLICE` of what a watcher may not want: 10,000 filtered ones take 0.5 s."""
    if at % SLICE == 0:
        await asyncio.sleep(0)
