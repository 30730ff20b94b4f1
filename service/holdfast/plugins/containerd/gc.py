"""The schedule of garbage collection: containerd's scheduler, its keys and defaults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta, Struct

from holdfast.api.events.image_pb2 import ImageDelete
from holdfast.config import Duration
from holdfast.metrics import Counter, Histogram
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import EVENTS, GC, METADATA
from holdfast.store import Scheduler, Thresholds
from holdfast.store.gc.collection import Collected
from holdfast.store.gc.reachability import ObjectKind

_SWEPT = (ObjectKind.CONTENT, ObjectKind.IMAGE, ObjectKind.INGEST, ObjectKind.LEASE)
_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class GcConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """containerd's ``[plugins."io.containerd.gc.v1.scheduler"]``."""

    pause_threshold: Annotated[
        float, Meta(description="the share of time collections may keep writers waiting; at most 0.5")
    ] = 0.02
    deletion_threshold: Annotated[
        int, Meta(ge=0, description="removals after which a collection is run at once; 0: at the next scheduled one")
    ] = 0
    mutation_threshold: Annotated[
        int, Meta(description="changes after which the next scheduled collection is run; 0: changes do not count")
    ] = 100
    schedule_delay: Annotated[Duration, Meta(description="time from the reason for a collection to its start")] = 0.0
    startup_delay: Annotated[Duration, Meta(description="before the first collection; 0: wait for a reason")] = 0.1

    def thresholds(self) -> Thresholds:
        """Return the settings in the scheduler's form."""
        return Thresholds(
            self.pause_threshold,
            self.deletion_threshold,
            self.mutation_threshold,
            self.schedule_delay,
            self.startup_delay,
        )


class GcMetrics:
    """Metrics of the collections, for the registry."""

    def __init__(self) -> None:
        pauses = Histogram(
            "holdfast_gc_pause_seconds", "Time one collection kept writers of metadata waiting.", bounds=_BOUNDS_S
        )
        self._pause = pauses.labels()
        self._removed = Counter("holdfast_gc_removed_total", "Things collected, by kind.", ["kind"])
        for kind in _SWEPT:
            self._removed.labels(kind.name.lower())
        self.families = (pauses, self._removed)

    def add(self, collected: Collected) -> None:
        """Count one collection."""
        self._pause.observe(collected.pause_s)
        for kind in _SWEPT:
            self._removed.inc(kind.name.lower(), by=collected.count(kind))


@plugin(GC, "scheduler", requires=(METADATA, EVENTS), config=GcConfig)
async def gc(context: InitContext) -> AsyncIterator[Scheduler]:
    """Collect in the background, and when a client requests a collection and waits."""
    metadata, events = context.single(METADATA), context.single(EVENTS)

    metrics = GcMetrics()
    context.metrics.add(*metrics.families)

    def tell(collected: Collected) -> None:
        metrics.add(collected)
        for image in collected.removed.get(ObjectKind.IMAGE, ()):  # an image that expired
            events.publish("/images/delete", ImageDelete(name=image.key), image.namespace)

    scheduler = Scheduler(metadata, context.config.thresholds(), tell)
    metadata.database.watch(scheduler.mutated)
    context.exports.update(
        PauseThreshold=str(context.config.pause_threshold),
        DeletionThreshold=str(context.config.deletion_threshold),
        MutationThreshold=str(context.config.mutation_threshold),
    )
    context.on_reload(lambda config: scheduler.configure(config.thresholds()))
    context.background("gc.schedule", scheduler.run)
    yield scheduler
    context.metrics.remove(*metrics.families)
