"""A runtime of Go's NRI package (`nripeer`), and our link to it in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from holdfast.node.plan.creation import ContainerAdjustment
from holdfast.plugins.node.nri.link import Link
from holdfast.plugins.node.nri.metrics import NriMetrics
from holdfast.plugins.node.nri.service import HandlerContext
from holdfast.plugins.node.nri.session import PluginIdentity
from holdfast.pods.created import CreatedStore
from holdfast.pods.record import ContainerRecord, PodRecord
from holdfast.ttrpc import unix

from tests.needs import path_of
from tests.peers.nri.node import node, parent  # noqa: F401 (fixtures)
from tests.running import PATIENCE_S, Running

POD = {"UID": "u1", "Pod": "pg-0", "Namespace": "db"}


class Runtime:
    """The Go program, which gets its commands line by line."""

    def __init__(self, running: Running, socket: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.running, self.socket = running, socket
        self._reader, self._writer = reader, writer

    def close(self) -> None:
        self._writer.close()

    async def do(self, do: str, **more: object) -> dict[str, Any]:
        """One command, and what came of it, errors included."""
        self._writer.write(json.dumps({"Do": do, **more}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await self._reader.readline() or b'{"error": "nripeer ended"}')

    async def well(self, do: str, **more: object) -> dict[str, Any]:
        """One command that must succeed."""
        said = await self.do(do, **more)
        assert "error" not in said, f"{do}: {said}\n{self.running.said}"
        return said

    async def create(self, container: str = "app", adj: int | None = 985, **more: object) -> dict[str, Any]:
        """Create a container of the one pod; what it would be created with."""
        words = {
            **POD,
            "ID": f"id-{container}",
            "Container": container,
            "Path": f"/kubepods/podu1/id-{container}",
        }
        return await self.do("create", **{**words, "Adj": adj, **more})


@pytest.fixture
async def boot(start: Callable[..., Running], short_dir: Path) -> AsyncIterator[Callable[[], Awaitable[Runtime]]]:
    """Boots a runtime on the one socket, after the last one ended."""
    booted: list[Runtime] = []

    async def one() -> Runtime:
        control, socket = short_dir / f"c{len(booted)}", str(short_dir / "nri.sock")
        running = start([path_of("nripeer"), control, socket])
        running.line("listening")
        streams = await asyncio.open_unix_connection(control, limit=1 << 24)
        booted.append(Runtime(running, socket, *streams))
        await booted[-1].well("timeout", Millis=30_000)  # by default a plugin that is 2 s late is dropped
        return booted[-1]

    yield one
    for runtime in booted:
        runtime.close()


@pytest.fixture
async def runtime(boot: Callable[[], Awaitable[Runtime]]) -> Runtime:
    return await boot()


class Book:
    """A feed that keeps what it receives (`nri.feed.DirectoryFeed`)."""

    def __init__(self) -> None:
        self.pods: dict[str, PodRecord] = {}
        self.containers: dict[str, ContainerRecord] = {}
        self.synchronized = 0

    def pod(self, pod: PodRecord) -> None:
        self.pods[pod.sandbox_id] = pod

    def container(self, container: ContainerRecord) -> None:
        self.containers[container.id] = container

    def pod_gone(self, sandbox_id: str) -> None:
        self.pods.pop(sandbox_id, None)

    def container_gone(self, container_id: str) -> None:
        self.containers.pop(container_id, None)

    def everything(self, pods: Any, containers: Any) -> None:
        self.pods = {pod.sandbox_id: pod for pod in pods}
        self.containers = {container.id: container for container in containers}
        self.synchronized += 1


class Told:
    """`nri.adjustments.RuleValuesSource` as the test says: values, an error to raise, or a time to take first."""

    def __init__(self) -> None:
        self.values: ContainerAdjustment | None = None
        self.error: Exception | None = None
        self.never = False

    async def at_creation(self, pod: PodRecord, container: ContainerRecord) -> ContainerAdjustment | None:
        if self.never:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return self.values


class Ours:
    """Our link, kept by a task, with all that it receives and sends."""

    def __init__(self, directory: Path, socket: str, budget_s: float) -> None:
        self.values_source, self.book, self.metrics, self.events = Told(), Book(), NriMetrics(), list[Message]()
        self.states: asyncio.Queue[bool] = asyncio.Queue()
        self.store = CreatedStore(directory / "created.db")
        means = HandlerContext(self.values_source, self.book, self.store, self.metrics, self.events.append)
        self.link = Link(unix(socket), PluginIdentity("holdfast", "10"), means, budget_s, self.states.put_nowait)

    async def state(self) -> bool:
        """The next change: whether we are the runtime's plugin."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.states.get()

    def outcomes(self) -> dict[str, float]:
        """Return the answers to creations, without zeroes."""
        return {outcome: value for (outcome,), value in self.metrics.containers.values() if value}


@pytest.fixture
def linked(short_dir: Path, runtime: Runtime) -> Callable[[], Any]:
    """``async with linked() as link``: our link, running, with so much time for an answer."""

    @asynccontextmanager
    async def running(budget_s: float = 30.0) -> AsyncIterator[Ours]:
        made = Ours(short_dir, runtime.socket, budget_s)
        task = asyncio.ensure_future(made.link.keep())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.wait([task])
            made.store.close()

    return running
