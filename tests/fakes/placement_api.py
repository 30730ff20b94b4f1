"""The placement API's service with answers of a test's choice, for what asks it in the same process."""

from __future__ import annotations

from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.errors import NotFound


class PlacementApi:
    """``answers`` by method; an exception is raised. ``calls`` are the methods that were called."""

    def __init__(self, **answers: object) -> None:
        self.answers: dict[str, object] = {
            "Status": pb.StatusResponse(),
            "ListRules": pb.ListRulesResponse(),
            "ListPlacements": pb.ListPlacementsResponse(),
            "Kills": pb.KillsResponse(page_bytes=4096),
            "Victims": pb.VictimsResponse(page_bytes=4096),
            "Explain": NotFound("process 7"),
            **answers,
        }
        self.calls: list[str] = []

    def __getattr__(self, method: str) -> object:
        async def call(request: object, context: object) -> object:
            self.calls.append(method)
            answer = self.answers[method]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call
