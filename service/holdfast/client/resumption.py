"""The place of a watch, for the next connection after a lost one. Pure: the two clients wait and call.

The first connection must succeed. From then on a connection that is lost is made again for `RESUMES_S`, and the daemon
continues after the last report that arrived. It refuses if it does not keep the reports after it, which is always so
after its restart: then the watch ends with `OutOfRange`, or begins with a snapshot if the caller wants one.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.errors import Unreachable

RESUMES_S = 60.0
PAUSE_S = 0.25  # between two tries
PRESENT, BOOKMARK = "present", "bookmark"


class Resumption:
    """The place of a watch in the stream of reports."""

    def __init__(self, rule: str, filters: Iterable[str] = (), *, snapshot: bool, resume_token: str) -> None:
        #: The request for the next connection.
        self.request = pb.WatchRequest(
            rule=rule, filters=filters, snapshot=snapshot, resume_token=resume_token, bookmarks=True
        )
        self._snapshot: list[pb.Report] = []  # as far as it arrived: half a snapshot is of no use to the caller
        self._begun = False
        self._lost_at_s: float | None = None

    def arrived(self, report: pb.Report) -> list[pb.Report]:
        """Take a message of the stream; return what the caller gets now."""
        self._begun, self._lost_at_s = True, None
        if report.happening == PRESENT:
            self._snapshot.append(report)
            return []
        if report.resume_token:
            self.request.resume_token = report.resume_token
        reports, self._snapshot = [*self._snapshot, report], []
        return [] if report.happening == BOOKMARK else reports

    def pause_s(self, error: Unreachable, now_s: float) -> float:
        """Return the seconds to wait before the next connection.

        Raises:
            Unreachable: the error itself: there was no connection yet, the daemon sends no tokens because it is older,
                or it has been away for too long.
        """
        self._snapshot = []
        if self._lost_at_s is None:
            self._lost_at_s = now_s
        can_resume = bool(self.request.resume_token or self.request.snapshot)
        if not (self._begun and can_resume) or now_s - self._lost_at_s >= RESUMES_S:
            raise error
        return PAUSE_S
