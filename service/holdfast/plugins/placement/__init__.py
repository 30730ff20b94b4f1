"""The node work as a plugin: the engine under the daemon's configuration, events, metrics and API.

The rules are `holdfast.node.rules`, what they lead to `holdfast.node.plan`, the loop `holdfast.node.reconcile`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator

from google.protobuf.message import Message

from holdfast import log
from holdfast.events import Exchange
from holdfast.node.journal import Journal
from holdfast.node.kills import Kills
from holdfast.node.reconcile import Engine, Listeners, Surroundings
from holdfast.node.record import Report
from holdfast.node.schema import PlacementConfig
from holdfast.node.snapshot import Kill, PodLookup
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import CGROUPS, EVENTS, PLACEMENT
from holdfast.plugins.placement import message
from holdfast.plugins.placement.force import Force
from holdfast.plugins.placement.service import PlacementService, Watchers
from holdfast.pods import cgroup_path
from holdfast.process import read_boot_id

LOG = log.named(__name__)
NAMESPACE = "holdfast"  # of the events; the node's work is in no client's namespace
KMSG = "/dev/kmsg"
#: How long the loop's thread may keep the interpreter from the engine's. The default, 5 ms, is a process's life.
SWITCH_S = 0.0005


class Herald:
    """Carries what the engine's thread reports to the loop: watchers and the event exchange.

    While nobody watches or is subscribed, the loop is not woken: an exec would cost the daemon twice as much.
    """

    def __init__(self, exchange: Exchange, watchers: Watchers) -> None:
        self._exchange, self._watchers = exchange, watchers
        self._loop = asyncio.get_running_loop()
        self._reports: deque[Report] = deque()
        self._called = False

    def report(self, report: Report) -> None:
        """On the engine's thread."""
        if not (self._watchers.any or self._exchange.is_heard):
            return
        self._reports.append(report)
        if not self._called:  # one call for a burst
            self._called = True
            self._on_the_loop(self._tell_all)

    def kill(self, kill: Kill) -> None:
        """On the engine's thread."""
        self._on_the_loop(self._publish, "/oom/kill", message.kill(kill))

    def _on_the_loop(self, act, *given) -> None:  # type: ignore[no-untyped-def]
        try:
            self._loop.call_soon_threadsafe(act, *given)
        except RuntimeError:  # the loop is closed: the daemon is going, nobody listens any more
            return

    def _tell_all(self) -> None:
        self._called = False  # first: what is added from now on calls again
        while self._reports:
            report = self._reports.popleft()
            self._watchers.tell(report)
            if self._exchange.is_heard:
                self._publish(f"/placement/{report.happening}", message.report(report))

    def _publish(self, topic: str, event: Message) -> None:
        self._exchange.publish(topic, event, NAMESPACE)


class PodsByPath:
    """What a cgroup's name alone says of a pod (`snapshot.PodLookup`)."""

    pod_of = staticmethod(cgroup_path.pod_of)


def pods_of(context: InitContext) -> PodLookup:
    """Who knows the pods: by their cgroups' names."""
    del context
    return PodsByPath()


@plugin(
    PLACEMENT,
    "rules",
    requires=[CGROUPS, EVENTS],
    config=PlacementConfig,
    services=["holdfast.placement.v1.Placement"],
)
async def placement(context: InitContext) -> AsyncIterator[PlacementService]:
    """Keep each process where its rule says; what to give back on stop is a setting."""
    config: PlacementConfig = context.config
    watchers = Watchers()
    herald = Herald(context.single(EVENTS), watchers)
    boot_id = read_boot_id(context.places.proc_root)
    journal = Journal(context.root_dir / "journal.db", boot_id)
    kills = Kills(context.root_dir / "kills.db", boot_id, config.kills_kept)
    engine = Engine(
        Surroundings(context.places.proc_root, KMSG, config.rescan),
        context.single(CGROUPS),
        journal,
        kills,
        Listeners(herald.report, herald.kill),
        pods_of(context),
    )
    force = Force(engine)
    force.apply(config)
    current = [config]

    def reload(fresh: PlacementConfig) -> None:
        force.apply(fresh)
        for key in ("rescan", "kills_kept"):
            if getattr(fresh, key) != getattr(config, key):
                LOG.warning("takes a restart", key=f"plugins.{context.uri}.{key}")
        current[0] = fresh

    context.on_reload(reload)
    engine.tally.register(context.metrics)
    sys.setswitchinterval(SWITCH_S)
    engine.start()
    yield PlacementService(engine, force, watchers)
    engine.tally.unregister(context.metrics)
    await asyncio.to_thread(engine.stop, restore=current[0].on_stop == "restore")
    journal.close()
    kills.close()
