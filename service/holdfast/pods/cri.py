"""Pods and containers as the node's container runtime reports them over CRI (``runtime.v1``), for the directory.

Theory
------
* *The list is the truth.* Every ``relist_s`` (jittered, and for a twentieth of the time at most) the client requests
  both lists and makes the directory equal to them. An unchanged item is recognised by its bytes and costs nothing.
* *A query is the hint.* When the directory is queried for a container that it does not know, the client asks the
  runtime for this one at once. So a new container is known a few milliseconds after its first process's exec, with any
  runtime. The runtime's own event stream is a further hint, by which ended containers are forgotten sooner; the client
  uses it where it cannot take events away from the kubelet (containerd 2, CRI-O).
* *Details once.* pid, the ``oom_score_adj`` that was given and the limit are in the verbose status, which is heavy: it
  is requested once a container, one after the other.
* *Indefinitely.* No socket, no response, no CRI behind the socket, a runtime that restarts: each is logged once and
  retried with growing pauses. Known pods and containers stay known meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from time import perf_counter, thread_time
from typing import Any, TypeVar, cast

import grpc
from msgspec.structs import replace

from holdfast import log
from holdfast.api.runtime.v1 import runtime_pb2 as pb
from holdfast.api.runtime.v1.runtime_pb2_grpc import RuntimeServiceStub
from holdfast.cgroups import parse_groups
from holdfast.errors import HoldfastError, Untrusted
from holdfast.identifiers import whole_number
from holdfast.pods.cgroup_path import unsplit_group
from holdfast.pods.cri_message import (
    Listing,
    container_record,
    detailed,
    is_ready,
    parse_container,
    parse_pod,
    pod_record,
)
from holdfast.pods.directory import Directory
from holdfast.pods.metrics import PodMetrics
from holdfast.pods.record import ContainerRecord, PodRecord
from holdfast.pods.runtime import NAMES_ALONE, RuntimeSource
from holdfast.process import ProcRoot
from holdfast.process.heap import give_back
from holdfast.trust import refuse_untrusted

LOG = log.named(__name__)
R = TypeVar("R", PodRecord, ContainerRecord)
CALL_S = 10.0
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0
SLICE = 64  # records between two turns of the loop: 1 to 2 ms
SHARE = 20  # a relist that takes a second comes every 20
RETRIES_S = (0.05, 0.1, 0.3, 1.0)  # for a container that the runtime does not list yet, or whose pid it does not report
MOST_MISSES = 256  # containers that may wait for a request: a name of a cgroup is made faster than a runtime answers
LARGE = 256 * 1024  # bytes of both lists; their buffers are several times that, and are freed
MOST_BYTES = 16 * 1024 * 1024  # what the kubelet allows an answer
SERVICE = "/runtime.v1.RuntimeService/"
OPTIONS = (
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.use_local_subchannel_pool", 1),
)


def connected(address: str) -> AbstractAsyncContextManager[grpc.aio.Channel]:
    """A channel to the runtime's socket: what it says of a container's group and pod is taken for a fact.

    Raises:
        Untrusted, OSError: see `refuse_untrusted`.
    """
    refuse_untrusted(address)
    channel: grpc.aio.Channel = grpc.aio.insecure_channel(f"unix://{address}", options=OPTIONS)
    return channel


class CriClient:
    """One runtime, for as long as `run` runs. ``why_not`` is empty while the runtime answers."""

    def __init__(
        self,
        source: RuntimeSource,
        directory: Directory,
        metrics: PodMetrics,
        connect: Callable[[str], AbstractAsyncContextManager[grpc.aio.Channel]] = connected,
    ) -> None:
        self.why_not = "not queried yet"
        self.name = ""
        self._source, self._directory, self._metrics, self._connect = source, directory, metrics, connect
        self._loop = asyncio.get_running_loop()
        self._pods: Listing[PodRecord] = Listing(parse_pod, lambda record: record.sandbox_id)
        self._containers: Listing[ContainerRecord] = Listing(parse_container, lambda record: record.id)
        self._missing: asyncio.Queue[tuple[str, float, int]] = asyncio.Queue()
        self._undetailed: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._relist_now = asyncio.Event()
        self._asked_for: set[str] = set()  # those that wait in `_missing`, and below those in `_undetailed`
        self._wanted: set[str] = set()
        self._tried = 0

    async def run(self) -> None:
        """Keep the directory equal to the runtime's state, indefinitely."""
        pause = SHORTEST_PAUSE_S
        no_more = self._directory.on_miss(self._on_miss)  # this job may fail, and another client follow this one
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    address = self._address()
                    why = f"{address}: {await self._session(address, group)}" if address else self._source.why_none
                    pause = min(2 * pause, LONGEST_PAUSE_S) if self.why_not else SHORTEST_PAUSE_S
                    self._say(why)
                    self._metrics.connected.set(0)
                    self._tried += 1
                    await asyncio.sleep(_jittered(pause))
        finally:
            no_more()

    def _address(self) -> str:
        """Return the socket to try now: the configured one, or the next of those that exist; empty without one."""
        there = self._source.found()
        return there[self._tried % len(there)] if there else ""

    def _say(self, why: str) -> None:
        """Log once what is missing, and its effect."""
        if self.why_not != why:
            LOG.warning(NAMES_ALONE, why=why)
        self.why_not = why

    async def _session(self, address: str, group: asyncio.TaskGroup) -> str:
        """Run all jobs over one connection until the runtime is lost; return how it was lost.

        The jobs never raise: a TaskGroup whose task fails while the group is cancelled loses the cancellation.
        """
        try:
            connection = self._connect(address)
        except (Untrusted, OSError) as error:
            return str(error)
        async with connection as channel:
            stub: Any = RuntimeServiceStub(channel)
            try:
                version = await stub.Version(pb.VersionRequest(), timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                return _words(error)
            self.name = f"{version.runtime_name} {version.runtime_version}"
            jobs = [self._relist_forever(channel, address), self._answer_misses(stub), self._detail_forever(stub)]
            if self._may_listen(version):
                jobs.append(self._listen_forever(stub))
            tasks = [group.create_task(_until_lost(job), name="pods.cri") for job in jobs]
            try:
                ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                return ended.pop().result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    # -- the lists -------------------------------------------------------------------------------------------------

    async def _relist_forever(self, channel: grpc.aio.Channel, address: str) -> None:
        while True:
            begun = perf_counter()
            try:
                await self._relist(channel)
            except BaseException:
                self._metrics.relists.inc("failed")
                raise
            self._metrics.relists.inc("done")
            if self.why_not:
                pods, containers = self._directory.sizes
                LOG.info("the runtime reports pods", runtime=self.name, at=address, pods=pods, containers=containers)
                self.why_not = ""
                self._metrics.connected.set(1)
            wait = max(_jittered(self._source.relist_s), SHARE * (perf_counter() - begun))
            await _set_within(self._relist_now, wait)

    async def _relist(self, channel: grpc.aio.Channel) -> None:
        """Make the directory equal to the runtime's lists."""
        mark = self._directory.mark()
        list_pods, list_containers = _raw(channel, "ListPodSandbox"), _raw(channel, "ListContainers")
        answer = await list_pods(b"", timeout=CALL_S)
        size = len(answer)
        pods, same, first_s = await _taken_in(self._pods, answer, self._knows_pod)
        answer = await list_containers(b"", timeout=CALL_S)
        size += len(answer)
        containers, same_too, then_s = await _taken_in(self._containers, answer, self._knows_container)
        del answer
        begun = thread_time()
        self._directory.replace_all(pods, containers, mark, (*same, *same_too))
        for one in containers:
            self._want_details(one.id)
        if size > LARGE:
            give_back()
        self._metrics.relist_seconds.observe(first_s + then_s + thread_time() - begun)

    def _knows_pod(self, sandbox_id: str) -> bool:
        return self._directory.pod(sandbox_id) is not None

    def _knows_container(self, container_id: str) -> bool:
        return self._directory.container(container_id) is not None

    # -- one container -----------------------------------------------------------------------------------------------

    def _on_miss(self, container_id: str) -> None:
        """Request the container on the loop; called on the querying thread."""
        try:
            self._loop.call_soon_threadsafe(self._ask_for, container_id, perf_counter())
        except RuntimeError:  # the loop is closed: the daemon ends
            return

    def _ask_for(self, container_id: str, since: float, tried: int = 0) -> None:
        if container_id in self._asked_for:
            return
        if len(self._asked_for) >= MOST_MISSES:  # the next relist has it
            self._metrics.unasked.inc()
        else:
            self._asked_for.add(container_id)
            self._missing.put_nowait((container_id, since, tried))

    async def _answer_misses(self, stub: Any) -> None:
        while True:
            container_id, since, tried = await self._missing.get()
            self._asked_for.discard(container_id)
            if await self._fetch(stub, container_id):
                self._metrics.answer_seconds.observe(perf_counter() - since)
            elif tried < len(RETRIES_S):
                self._loop.call_later(RETRIES_S[tried], self._ask_for, container_id, since, tried + 1)

    async def _fetch(self, stub: Any, container_id: str) -> bool:
        """Request one container, or the sandbox of this id; False if the runtime knows neither."""
        mark = self._directory.mark()
        asked = pb.ListContainersRequest(filter=pb.ContainerFilter(id=container_id))
        found = (await stub.ListContainers(asked, timeout=CALL_S)).containers
        record = container_record(found[0]) if found else None
        sandbox_id = record.sandbox_id if record is not None else container_id
        if self._directory.pod(sandbox_id) is None:
            listed = pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter(id=sandbox_id))
            pods = [some for some in (await stub.ListPodSandbox(listed, timeout=CALL_S)).items if is_ready(some)]
            if not pods:
                return False
            self._directory.put_pod(pod_record(pods[0]), mark)
        if record is not None:
            self._directory.put_container(record, mark)
            self._want_details(container_id)
        return True

    def _want_details(self, container_id: str, tried: int = 0) -> None:
        if container_id not in self._wanted:
            self._wanted.add(container_id)
            self._undetailed.put_nowait((container_id, tried))

    async def _detail_forever(self, stub: Any) -> None:
        while True:
            container_id, tried = await self._undetailed.get()
            self._wanted.discard(container_id)
            known = self._directory.container(container_id)
            if known is None or (known.pid and known.oom_score_adj is not None):
                continue
            mark = self._directory.mark()
            try:
                record = await self._details(stub, known)
            except (grpc.aio.AioRpcError, asyncio.CancelledError):  # lost; the next list has it unchanged
                self._want_details(container_id, tried)
                raise
            if self._directory.container(container_id) is None:
                continue
            if record is None:  # as far as it can be known
                self._directory.settle(container_id)
            else:
                self._directory.put_container(record, mark)
            if not (record and record.pid) and tried < len(RETRIES_S):  # created, and about to be started
                self._loop.call_later(RETRIES_S[tried], self._want_details, container_id, tried + 1)

    async def _details(self, stub: Any, known: ContainerRecord) -> ContainerRecord | None:
        """Return a container with its verbose status; None if it is gone. A reused pid is left out."""
        try:
            asked = pb.ContainerStatusRequest(container_id=known.id, verbose=True)
            record = detailed(known, await stub.ContainerStatus(asked, timeout=CALL_S))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise
            return None
        return with_start(record, self._source.proc_root)

    # -- the runtime's events ----------------------------------------------------------------------------------------

    def _may_listen(self, version: pb.VersionResponse) -> bool:
        """Whether a second listener takes no events from the kubelet: containerd 1.7 has one queue for all."""
        if self._source.events is not None:
            return self._source.events
        major = version.runtime_version.removeprefix("v").partition(".")[0]
        return version.runtime_name != "containerd" or ((whole_number(major) or 0) >= 2)

    async def _listen_forever(self, stub: Any) -> None:
        """Take events as hints; a runtime without events is supported too."""
        pause = 1.0
        while True:
            try:
                async for event in stub.GetContainerEvents(pb.GetEventsRequest()):
                    pause = 1.0
                    self._on_event(event)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    await asyncio.Event().wait()
            self._relist_now.set()  # a stream that ended may have lost something
            await asyncio.sleep(_jittered(pause))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _on_event(self, event: pb.ContainerEventResponse) -> None:
        if event.container_event_type in (pb.CONTAINER_CREATED_EVENT, pb.CONTAINER_STARTED_EVENT):
            self._ask_for(event.container_id, perf_counter(), len(RETRIES_S))
        elif event.container_event_type == pb.CONTAINER_DELETED_EVENT:
            self._directory.remove(event.container_id)


async def _taken_in(
    listing: Listing[R], answer: bytes, is_known: Callable[[str], bool]
) -> tuple[list[R], list[str], float]:
    """Return new records, ids of unchanged ones, and the CPU seconds; in slices, so that the loop goes on."""
    records: list[R] = []
    unchanged: list[str] = []
    spent, begun = 0.0, thread_time()
    for one in listing.read(answer, is_known):
        if isinstance(one, str):
            unchanged.append(one)
        elif one is not None:
            records.append(one)
            if len(records) % SLICE == 0:
                spent += thread_time() - begun
                await asyncio.sleep(0)
                begun = thread_time()
    return records, unchanged, spent + thread_time() - begun


def with_start(record: ContainerRecord, proc_root: str) -> ContainerRecord:
    """Return the record with the start of its process, if this is still in the container; else without a pid."""
    if not record.pid:
        return record
    try:
        with ProcRoot(proc_root) as root, root.open(record.pid) as process:
            text = process.read("cgroup")
            if record.id.encode() in text:
                group = unsplit_group(record.cgroups_path, parse_groups(text).values())
                return replace(record, start_ticks=process.start_ticks(), unsplit_group=group)
    except HoldfastError:  # it ended, or it may not be read
        pass
    return replace(record, pid=0)


def _raw(channel: grpc.aio.Channel, method: str) -> Callable[..., Any]:
    """Return a call whose request and response are bytes: only the new items of a list are parsed."""
    return cast("Callable[..., Any]", channel.unary_unary(SERVICE + method))


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311 (so that nodes do not ask in step)


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, ``seconds`` at most; clear it afterwards."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    finally:
        event.clear()


async def _until_lost(job: Coroutine[Any, Any, None]) -> str:
    """Run one job of a session; return how the runtime was lost."""
    try:
        await job
    except (grpc.aio.AioRpcError, ValueError) as error:
        return _words(error)
    return "it no longer answers"


def _words(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return f"there is no CRI behind it ({error.details()})"
        return f"{error.code().name.lower()}: {error.details()}"
    return str(error)
