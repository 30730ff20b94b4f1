"""The pages that there are, and the facts that each needs."""

from __future__ import annotations

import time
from typing import Any

import holdfast
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.errors import HoldfastError
from holdfast.failure import sentence
from holdfast.plugin import InitContext, State
from holdfast.plugin.services import Page, PageRequest
from holdfast.plugins.web import content
from holdfast.plugins.web.content import Facts, Node
from holdfast.plugins.web.document import Document
from holdfast.plugins.web.reading import Reading

NODE_S, VICTIMS_S = 2.0, 10.0  # an answer is read again after this time; a ranking reads the whole node
CANDIDATES = 5
KILLS = 20
MAX_PID = 2**22
NO_PLACEMENT = "placement does not run"
#: In place of the reason for users without access to the files: it may quote a value, as a password.
REFUSED = "yes; the reason, on the node: holdfast status"


class Site:
    """The pages. ``placement`` is the API's service, None where its plugin does not run."""

    def __init__(self, context: InitContext, placement: Any | None) -> None:
        self._context, self._placement = context, placement
        self._document = Document()
        self.node, self.victims = Reading(self._read_node, NODE_S), Reading(self._read_victims, VICTIMS_S)

    async def overview(self, request: PageRequest) -> Page:
        """The first page."""
        if self._placement is None:
            return self._page("overview", content.overview(self._facts(request), None, None, [NO_PLACEMENT]))
        node, victims = await self.node.latest(), await self.victims.latest()
        missing = [error for error in (self.node.error, self.victims.error) if error]
        return self._page("overview", content.overview(self._facts(request), node, victims, missing))

    async def processes(self, request: PageRequest) -> Page:
        """Processes under a rule, or under any."""
        node = await self.node.latest() if self._placement is not None else None
        if node is None:
            return self._page("processes", content.not_there(self.node.error or NO_PLACEMENT), 503)
        query = request.query
        number = query.get("page", "1")
        page = int(number) if number.isascii() and number.isdigit() and len(number) < 8 else 1
        return self._page("processes", content.processes(node, query.get("rule", ""), query.get("q", ""), page))

    async def process(self, request: PageRequest) -> Page:
        """One process, explained."""
        number = request.query.get("pid", "")
        pid = int(number) if number.isascii() and number.isdigit() and len(number) < 8 else 0
        if self._placement is None or not 0 < pid <= MAX_PID:
            return self._page("no process", content.not_there("Give the number of a process: /process?pid=1"), 404)
        try:
            answer = await self._placement.Explain(pb.ExplainRequest(pid=pid), None)
        except HoldfastError as error:
            return self._page("no process", content.not_there(str(error)), 404)
        return self._page(f"process {pid}", content.explanation(answer, is_private=request.is_private))

    def _page(self, title: str, main: str, status: int = 200) -> Page:
        read = f", as of {content.age(self.node.age_s)} ago" if self.node.value is not None else ""
        links = 'Health: <a href="/readyz">/readyz</a>, <a href="/healthz">/healthz</a>'
        footer = f"holdfast {content.text(holdfast.__version__)}, read-only{read}. {links}"
        return self._document.page(f"{title} · holdfast", main, footer, status)

    async def _read_node(self) -> Node:
        service = self._placement
        assert service is not None
        return Node(
            await service.Status(pb.StatusRequest(), None),
            await service.ListRules(pb.ListRulesRequest(), None),
            await service.ListPlacements(pb.ListPlacementsRequest(), None),
            await service.Kills(pb.KillsRequest(limit=KILLS), None),
        )

    async def _read_victims(self) -> pb.VictimsResponse:
        assert self._placement is not None
        answer: pb.VictimsResponse = await self._placement.Victims(pb.VictimsRequest(limit=CANDIDATES), None)
        return answer

    def _facts(self, request: PageRequest) -> Facts:
        context = self._context
        board, now = context.serving, context.daemon.configuration()
        failed = [one for one in context.plugins if one.state is State.FAILED and one.error is not None]
        return Facts(
            holdfast.__version__,
            bool(board.serves("")),
            tuple(sorted(name for name in board.names() if name and not board.serves(name))),
            tuple((one.uri, sentence(one.error)) for one in failed if one.error is not None),
            now.hash[:12],
            time.time() - now.since_unix_ns / 1e9,
            now.refused if request.is_private or not now.refused else REFUSED,
            now.is_last_good,
            now.needs_restart,
        )
