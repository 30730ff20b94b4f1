"""The plugin's side of NRI: one handler for each call of the runtime. `adjustments` makes the answers.

No error ever leaves a handler (`fail_open`): the runtime would fail the container for it. After an empty answer the
runtime creates the container as the kubelet asked, and the engine sets the remaining values when its program runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from google.protobuf.message import Message
from msgspec import Struct, field
from msgspec.structs import replace

from holdfast import log
from holdfast.api.nri.v1alpha1 import nri_pb2 as pb
from holdfast.api.nri.v1alpha1.nri_ttrpc import PluginServicer
from holdfast.node.plan.creation import ContainerAdjustment
from holdfast.plugins.node.nri import message
from holdfast.plugins.node.nri.adjustments import LOWEST, RuleValuesSource, before_us, for_runtime
from holdfast.plugins.node.nri.feed import DirectoryFeed
from holdfast.plugins.node.nri.metrics import CreationOutcome, NriMetrics
from holdfast.pods.cgroup_path import group_of
from holdfast.pods.created import Created, CreatedFile, CreatedStore
from holdfast.pods.nri import EVENT_MASK, NriEvent, RetryGuard, SyncBuffer
from holdfast.pods.record import ContainerRecord
from holdfast.ttrpc import Handler, Interceptor, Kind

LOG = log.named(__name__)

#: The empty answer of each method that fails, made from its request. In Configure, events 0 would mean all.
EMPTY: dict[str, Callable[[Any], Message]] = {
    "Configure": lambda _: pb.ConfigureResponse(events=EVENT_MASK),
    "Synchronize": lambda request: pb.SynchronizeResponse(more=request.more),
    "CreateContainer": lambda _: pb.CreateContainerResponse(),
    "StopContainer": lambda _: pb.StopContainerResponse(),
}


class TimedCall(Protocol):
    """The part of a call that `fail_open` needs."""

    def time_remaining(self) -> float | None:
        """Return the seconds that the caller still waits; None: no limit."""


def fail_open(metrics: NriMetrics, budget_s: float) -> Interceptor:
    """Wrap every handler: it is timed, and after the budget or an error it gives the empty answer, never an error.

    The budget is at most half of what the caller still waits: ttrpc's own answer at the deadline is an error too.
    """

    def wrap(full_method: str, kind: Kind, handler: Handler) -> Handler:
        del kind
        method = full_method.rpartition("/")[2]
        empty = EMPTY.get(method, lambda _: pb.Empty())
        seconds = metrics.handler.labels(method)

        async def guarded(request: Any, call: TimedCall) -> Any:
            began = time.perf_counter()
            left = call.time_remaining()
            try:
                async with asyncio.timeout(budget_s if left is None else min(budget_s, left / 2)):
                    return await handler(request, call)
            except Exception as error:  # whatever it is, the container must be created
                metrics.failures.inc(method)
                LOG.error("nri: answered without changes", method=method, error=f"{type(error).__name__}: {error}")
                return empty(request)
            finally:
                seconds.observe(time.perf_counter() - began)

        return guarded

    return wrap


class AdoptionTarget(Protocol):
    """Enforces a container's values once it runs, and restores them. A future is done when the values are recorded."""

    def adopt(self, pid: int, requested: int, written: int, rule: str) -> Future[None]:
        """Take over its first process, which was created with the value of ``rule`` in place of the one asked for."""

    def adopt_files(self, group: str, files: Sequence[CreatedFile]) -> Future[None]:
        """Take over ``files`` of its own cgroup, which was created with them."""


class HandlerContext(Struct, frozen=True):
    """The parts that handlers work with; they outlive a connection.

    ``tell`` receives an event for each container that a rule has values for; ``adoption_target`` takes over the values
    that a running container was created with; ``lowest`` is the least oom_score_adj the runtime may write.
    """

    values_source: RuleValuesSource
    feed: DirectoryFeed
    store: CreatedStore
    metrics: NriMetrics
    tell: Callable[[Message], None]
    lowest: int = LOWEST
    retry_guard: RetryGuard = field(default_factory=RetryGuard)
    adoption_target: AdoptionTarget | None = None


class PluginService(PluginServicer):
    """One connection's handlers. ``synchronized`` once the runtime has reported everything: then we are its plugin."""

    def __init__(self, handler_context: HandlerContext, on_synchronized: Callable[[], None] = lambda: None) -> None:
        self.synchronized = False
        self.runtime = ""
        self._on_synchronized = on_synchronized
        self._context = handler_context
        self._sync_buffer = SyncBuffer()

    # -- the connection --------------------------------------------------------------------------------------------

    async def Configure(self, request: pb.ConfigureRequest, call: object) -> pb.ConfigureResponse:  # noqa: N802
        """Log the runtime's name and version, and answer with the events we want."""
        self.runtime = f"{request.runtime_name} {request.runtime_version}".strip()
        LOG.info(
            "nri: registered",
            runtime=self.runtime,
            nri=request.nri_version or "before 0.12",
            waits_ms=request.request_timeout,
        )
        return pb.ConfigureResponse(events=EVENT_MASK)

    async def Synchronize(  # noqa: N802
        self, request: pb.SynchronizeRequest, call: object
    ) -> pb.SynchronizeResponse:
        """Take in all pods and containers, in one or more parts. Request no updates: the engine makes those."""
        self._sync_buffer.add(map(message.pod_record, request.pods), map(self._known, request.containers))
        if not request.more:
            synced, self._sync_buffer = self._sync_buffer, SyncBuffer()
            self._take(synced)
        return pb.SynchronizeResponse(more=request.more)

    async def Shutdown(self, request: pb.Empty, call: object) -> pb.Empty:  # noqa: N802
        """Log that the runtime stops. It may end without this call: only the end of the connection counts."""
        LOG.info("nri: the runtime stops", runtime=self.runtime)
        return pb.Empty()

    def _take(self, synced: SyncBuffer) -> None:
        self._context.store.keep_only(container.id for container in synced.containers)
        self._context.retry_guard.begin_anew({pod.uid for pod in synced.pods})
        self._context.feed.everything(synced.pods, synced.containers)
        for container in synced.containers:
            if container.pid and self._context.store.waits(container.id):  # started while we were away
                self._hand_over(container)
        self._context.metrics.synchronized.set(len(synced.pods), "pods")
        self._context.metrics.synchronized.set(len(synced.containers), "containers")
        self._context.metrics.left_out.labels().value += synced.left_out
        self.synchronized = True
        self._on_synchronized()
        LOG.info(
            "nri: synchronized",
            pods=len(synced.pods),
            containers=len(synced.containers),
            left_out=synced.left_out,
        )

    # -- pods and containers ---------------------------------------------------------------------------------------

    async def RunPodSandbox(self, request: pb.PodEvent, call: object) -> pb.Empty:  # noqa: N802
        """Take in a new pod."""
        self._on(NriEvent.RUN_POD, request.pod, None)
        return pb.Empty()

    async def StopPodSandbox(self, request: pb.PodEvent, call: object) -> pb.Empty:  # noqa: N802
        """Do nothing: the pod's containers are stopped, but it may still be listed."""
        self._on(NriEvent.STOP_POD, request.pod, None)
        return pb.Empty()

    async def RemovePodSandbox(self, request: pb.PodEvent, call: object) -> pb.Empty:  # noqa: N802
        """Forget a removed pod."""
        self._on(NriEvent.REMOVE_POD, request.pod, None)
        return pb.Empty()

    async def CreateContainer(  # noqa: N802
        self, request: pb.ContainerEvent, call: object
    ) -> pb.CreateContainerResponse:
        """Answer with a rule's values: only this call can set them before the first instruction runs."""
        adjustment = await self._decide(request)
        self._context.feed.pod(message.pod_record(request.pod))
        self._context.feed.container(self._known(request.container))
        if adjustment is None:
            return pb.CreateContainerResponse()
        return pb.CreateContainerResponse(adjust=adjustment)

    async def PostStartContainer(self, request: pb.ContainerEvent, call: object) -> pb.Empty:  # noqa: N802
        """Take in a container that runs and has a pid."""
        self._on(NriEvent.POST_START, request.pod, request.container)
        return pb.Empty()

    async def StopContainer(self, request: pb.ContainerEvent, call: object) -> pb.StopContainerResponse:  # noqa: N802
        """Take in that a container ended or is being stopped."""
        self._on(NriEvent.STOP, request.pod, request.container)
        return pb.StopContainerResponse()

    async def RemoveContainer(self, request: pb.ContainerEvent, call: object) -> pb.Empty:  # noqa: N802
        """Forget a removed container."""
        self._on(NriEvent.REMOVE, request.pod, request.container)
        return pb.Empty()

    async def StateChange(self, request: pb.StateChangeEvent, call: object) -> pb.Empty:  # noqa: N802
        """Handle any of these events, from a runtime before NRI 0.12 or one that makes this call as well."""
        container = request.container if request.HasField("container") else None
        self._on(request.event, request.pod, container)
        return pb.Empty()

    def _on(self, event: int, pod: pb.PodSandbox, container: pb.Container | None) -> None:
        if event == NriEvent.RUN_POD:
            self._context.feed.pod(message.pod_record(pod))
        elif event == NriEvent.REMOVE_POD:
            self._context.retry_guard.forget(pod.uid)
            self._context.feed.pod_gone(pod.id)
        elif container is None:
            return
        elif event == NriEvent.POST_START:
            if self._context.retry_guard.started((pod.uid, container.name)):
                LOG.warning(
                    "nri: a container started only without our values; it gets none from now on",
                    pod=f"{pod.namespace}/{pod.name}",
                    container=container.name,
                )
            self._context.feed.container(self._known(container))
            self._hand_over(message.container_record(container))
        elif event == NriEvent.STOP:
            self._context.feed.container(self._known(container))
        elif event == NriEvent.REMOVE:
            self._context.store.drop((container.id,))
            self._context.feed.container_gone(container.id)

    def _hand_over(self, container: ContainerRecord) -> None:
        """Hand the values that a running container was created with to the engine, which enforces and restores them."""
        store, adoption_target = self._context.store, self._context.adoption_target
        if adoption_target is None:
            return
        taken: list[Future[None]] = []
        row = store.get(container.id)
        if row is not None and row.asked is not None and container.pid:
            taken.append(adoption_target.adopt(container.pid, row.asked, row.written, row.rule))
        group, files = group_of(container.cgroups_path), store.files(container.id)
        if group and files:
            taken.append(adoption_target.adopt_files(group, files))
        if taken:
            both = asyncio.gather(*map(asyncio.wrap_future, taken))
            both.add_done_callback(lambda _: self._is_taken(container.id, both))

    def _is_taken(self, container_id: str, both: asyncio.Future[list[None]]) -> None:
        if both.cancelled():
            return
        try:
            both.result()
            self._context.store.handed_over(container_id)
        except Exception as error:  # a journal that cannot be written; or we stop, and the store is closed
            LOG.warning("nri: the values of a created container stay stored until the next start", error=error)

    def _known(self, container_message: pb.Container) -> ContainerRecord:
        """Return a container, with the requested value if it was given another one."""
        container = message.container_record(container_message)
        row = self._context.store.get(container.id)
        if row is None:
            return container
        asked = row.written if row.asked is None else row.asked
        return replace(container, oom_score_adj=row.written, oom_score_adj_asked=asked)

    async def _decide(self, request: pb.ContainerEvent) -> pb.ContainerAdjustment | None:
        pod, container = message.pod_record(request.pod), message.container_record(request.container)
        unified = request.container.linux.resources.unified
        values = await self._context.values_source.at_creation(pod, container)
        made = for_runtime(values, container, unified, self._context.lowest) if values is not None else None
        if made is None or not made.anything:
            self._context.metrics.containers.inc(CreationOutcome.NOTHING)
            return None
        outcome = CreationOutcome.DRY_RUN if made.dry_run else CreationOutcome.ADJUSTED
        if not made.dry_run and not self._context.retry_guard.allows((pod.uid, container.name)):
            outcome = CreationOutcome.LEFT_ALONE
        if outcome is CreationOutcome.ADJUSTED:
            self._store(container, made, unified)
        self._context.metrics.containers.inc(outcome)
        self._context.tell(message.created(pod, container, made, outcome))
        LOG.info(
            "nri: a rule for a container about to be created",
            pod=f"{pod.namespace}/{pod.name}",
            container=container.name,
            rule=made.rule,
            outcome=outcome,
            oom_score_adj=made.oom_score_adj,
            asked=container.oom_score_adj,
        )
        return message.adjust(made, container) if outcome is CreationOutcome.ADJUSTED else None

    def _store(self, container: ContainerRecord, made: ContainerAdjustment, unified: Mapping[str, str]) -> None:
        """Store the values that would be lost if the daemon ended before the container starts."""
        if made.oom_score_adj is not None:
            self._context.store.put(Created(container.id, container.oom_score_adj, made.oom_score_adj, made.rule))
        if made.settings:
            self._context.store.put_files(
                [
                    CreatedFile(container.id, file, before, value, made.rule)
                    for file, value in made.settings.items()
                    if (before := before_us(file, unified)) is not None
                ]
            )
