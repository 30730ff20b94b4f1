"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast import namespaces
from holdfast.client.connection import TIMEOUT_S, Target, Tls, address_from, channel_of, errors_of
from holdfast.errors import Unreachable

if TYPE_CHECKING:
    from holdfast.api.config.v1 import config_pb2
    from holdfast.api.placement.v1 import placement_pb2 as pb
    from holdfast.api.services.introspection.v1 import introspection_pb2
    from holdfast.api.services.version.v1 import version_pb2
    from holdfast.api.types.event_pb2 import Envelope
    from holdfast.client.calls import Call

T = TypeVar("T")


class Client:
    """A connection to a daemon: ``async with Client() as client: …``.

    Every method raises `holdfast.errors.HoldfastError`: its subclass for the daemon's status (`NotFound`, …), or
    `Unreachable` when no daemon answers.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        namespace: str = namespaces.DEFAULT,
        timeout_s: float = TIMEOUT_S,
        tls: Tls | None = None,
    ) -> None:
        """``address``: a path, ``unix://PATH`` or ``tcp://HOST:PORT``; without it HOLDFAST_ADDRESS, or the socket of a
        daemon of the same user. ``namespace``: containerd's. ``timeout_s``: for each answer, but not for a stream.
        """
        self._target = Target(address_from(address), namespace, timeout_s, tls or Tls())
        self._channel: Any = None

    async def __aenter__(self) -> Client:
        import grpc.aio

        self._channel = channel_of(self._target, grpc.aio)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def version(self) -> version_pb2.VersionResponse:
        """Return version and revision of the daemon."""
        from holdfast.client import calls

        return await self._ask(calls.version())

    async def serves(self, service: str = "") -> bool:
        """Return whether the daemon, or one service, serves."""
        from holdfast.client import calls

        return await self._ask(calls.serves(service))

    async def plugins(self, *filters: str) -> list[introspection_pb2.Plugin]:
        """Return the plugins, in the order of their starts; of several ``filters`` any may match."""
        from holdfast.client import calls

        return await self._ask(calls.plugins(filters))

    async def config(self) -> config_pb2.ShowResponse:
        """Return the configuration in force."""
        from holdfast.client import calls

        return await self._ask(calls.config())

    async def status(self) -> pb.StatusResponse:
        """Return the state of the engine."""
        from holdfast.client import calls

        return await self._ask(calls.status())

    async def rules(self, *, filters: Iterable[str] = (), fields: Iterable[str] = ()) -> list[pb.RuleInfo]:
        """Return the rules in force, in their order, with the number of processes in each state.

        ``filters``: containerd's, over the fields of an item; any may match. ``fields``: the only ones that are set.
        """
        from holdfast.client import calls

        return await self._ask(calls.rules(filters, fields))

    async def processes(
        self, rule: str = "", *, filters: Iterable[str] = (), fields: Iterable[str] = (), page_size: int = 0
    ) -> list[pb.PlacementInfo]:
        """Return the processes under ``rule``, or under any, that match any of the ``filters``.

        ``fields``: the only ones that are set. ``page_size``: ask for so many at a time, up to 1,000, by pid.
        """
        from holdfast.client import calls

        return await self._ask_pages(calls.processes(rule, filters, fields, page_size))

    async def explain(self, pid: int) -> pb.ExplainResponse:
        """Explain which rule applies to a process, why, and what prevents each change."""
        from holdfast.client import calls

        return await self._ask(calls.explain(pid))

    async def preview(
        self,
        rule: str = "",
        *,
        rules_yaml: str | None = None,
        filters: Iterable[str] = (),
        fields: Iterable[str] = (),
        page_size: int = 0,
    ) -> pb.PreviewResponse:
        """Return the changes that the rules in force, or those in ``rules_yaml``, would make now.

        ``rule`` is for the rules in force. ``page_size``: ask for so many processes at a time, by pid.
        """
        from holdfast.client import calls

        return await self._ask_pages(calls.preview(rule, rules_yaml, filters, fields, page_size))

    async def victims(
        self,
        cgroup: str = "",
        *,
        limit: int = 10,
        filters: Iterable[str] = (),
        fields: Iterable[str] = (),
        page_size: int = 0,
    ) -> pb.VictimsResponse:
        """Return the OOM killer's ranking for the node and each limited memory cgroup, or for ``cgroup``.

        ``filters`` and ``fields`` are for the rankings. ``page_size``: ask for so many at a time, by path.
        """
        from holdfast.client import calls

        return await self._ask_pages(calls.victims(cgroup, limit, filters, fields, page_size))

    async def kills(
        self, limit: int = 0, *, filters: Iterable[str] = (), fields: Iterable[str] = ()
    ) -> pb.KillsResponse:
        """Return the latest OOM kills that match any of the ``filters``, newest first; ``limit`` 0: 1,000."""
        from holdfast.client import calls

        return await self._ask(calls.kills(limit, filters, fields))

    async def hold(self, pid: int, oom_score_adj: int, *, for_s: float = 3600.0, reason: str = "") -> pb.PlacementInfo:
        """Override the rules for a process, for a limited time in seconds."""
        from holdfast.client import calls

        return await self._ask(calls.hold(pid, oom_score_adj, for_s, reason))

    async def release(self, pid: int) -> pb.PlacementInfo | None:
        """End an override; return what the rules give the process now, None if no rule applies."""
        from holdfast.client import calls

        return await self._ask(calls.release(pid))

    async def restore(self, rule: str = "", *, pid: int = 0) -> pb.RestoreResponse:
        """Restore what ``rule``, or any rule, wrote to ``pid``, or to any process."""
        from holdfast.client import calls

        return await self._ask(calls.restore(rule, pid))

    async def watch(
        self, rule: str = "", *, filters: Iterable[str] = (), snapshot: bool = False, resume_token: str = ""
    ) -> AsyncIterator[pb.Report]:
        """Yield the reports of the engine from now on, or after a token; only those about ``rule`` if it is given.

        ``filters``: over the fields of a report; any may match. ``snapshot``: first the processes under a rule, each as
        `present`, then `synced`. A lost connection is made again, for a minute, and no report is lost or comes twice.
        If that is impossible, another snapshot comes.

        Raises:
            OutOfRange: reports were lost, or the daemon was restarted, and there is no ``snapshot``.
        """
        from holdfast.client import calls
        from holdfast.client.resumption import Resumption

        place = Resumption(rule, filters, snapshot=snapshot, resume_token=resume_token)
        while True:
            try:
                async with aclosing(self._stream(calls.watch(place.request))) as stream:
                    async for message in stream:
                        for report in place.arrived(message):
                            yield report
                return
            except Unreachable as error:
                pause_s = place.pause_s(error, time.monotonic())
            await asyncio.sleep(pause_s)

    async def events(self, *filters: str) -> AsyncIterator[Envelope]:
        """Yield the events of all namespaces from now on; of several ``filters`` any may match."""
        from holdfast.client import calls

        async for message in self._stream(calls.events(filters)):
            yield message

    async def _ask(self, call: Call[T]) -> T:
        return call.take(await self._answer(call))

    async def _ask_pages(self, call: Call[T]) -> T:
        from holdfast.client.calls import next_page

        whole = answer = await self._answer(call)
        while (more := next_page(call, answer)) is not None:
            answer = await self._answer(more)
            whole.MergeFrom(answer)
        whole.ClearField("next_page_token")
        return call.take(whole)

    async def _answer(self, call: Call[Any]) -> Any:
        with errors_of(self._target):
            method = getattr(call.stub(self._channel), call.method)
            return await method(call.request, timeout=self._target.timeout, metadata=self._metadata())

    async def _stream(self, call: Call[T]) -> AsyncGenerator[T, None]:
        with errors_of(self._target):
            answers = getattr(call.stub(self._channel), call.method)(call.request, metadata=self._metadata())
            try:
                async for message in answers:
                    yield call.take(message)
            finally:
                answers.cancel()

    def _metadata(self) -> list[tuple[str, str]]:
        return [(namespaces.GRPC_HEADER, self._target.namespace)]
