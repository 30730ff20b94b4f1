"""When what nobody needs is removed: containerd's scheduler, its keys and defaults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta, Struct

from holdfast.api.events.image_pb2 import ImageDelete
from holdfast.config import Duration
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import EVENTS, GC, METADATA
from holdfast.store import Scheduler, Thresholds
from holdfast.store.collection import Collected
from holdfast.store.reachability import Kind


class GcConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """containerd's ``[plugins."io.containerd.gc.v1.scheduler"]``."""

    pause_threshold: Annotated[
        float, Meta(description="the share of time collections may keep writers waiting; at most 0.5")
    ] = 0.02
    deletion_threshold: Annotated[
        int, Meta(ge=0, description="removals after which a collection is run at once; 0: at the next planned one")
    ] = 0
    mutation_threshold: Annotated[
        int, Meta(description="changes after which the next planned collection is run; 0: changes do not count")
    ] = 100
    schedule_delay: Annotated[Duration, Meta(description="between what asks for a collection and its start")] = 0.0
    startup_delay: Annotated[Duration, Meta(description="before the first collection; 0: wait for a reason")] = 0.1

    def thresholds(self) -> Thresholds:
        """As the scheduler takes them."""
        return Thresholds(
            self.pause_threshold,
            self.deletion_threshold,
            self.mutation_threshold,
            self.schedule_delay,
            self.startup_delay,
        )


@plugin(GC, "scheduler", requires=(METADATA, EVENTS), config=GcConfig)
async def gc(context: InitContext) -> AsyncIterator[Scheduler]:
    """Collect in the background, and when a client asks and waits."""
    metadata, events = context.single(METADATA), context.single(EVENTS)

    def tell(collected: Collected) -> None:
        for image in collected.removed.get(Kind.IMAGE, ()):  # an image that expired
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
