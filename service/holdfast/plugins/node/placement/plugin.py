"""Registration of the placement plugin: starts the engine, connects it with the other plugins, watches its thread."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from holdfast import log
from holdfast.api.events.v1.config_pb2 import ConfigRejected
from holdfast.cgroups import Hierarchy
from holdfast.errors import Unavailable
from holdfast.events import Exchange
from holdfast.inert import valid
from holdfast.metrics import Counter
from holdfast.node.engine.engine import Engine
from holdfast.node.engine.loop import EngineSettings, Loop
from holdfast.node.engine.reporter import EngineListeners
from holdfast.node.journal.journal import Journal
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.placement import Report
from holdfast.node.model.privileges import lacks
from holdfast.node.model.process import PodLookup
from holdfast.node.oom.store import Kills
from holdfast.node.proc.privileges import read_vantage
from holdfast.node.rule.check import faults_of
from holdfast.node.rule.schema import PlacementConfig
from holdfast.node.rule.warnings import warnings_of
from holdfast.plugin import InitContext, Remark, SkipPlugin, plugin
from holdfast.plugins.kinds import BUNDLES, CGROUPS, EVENTS, PLACEMENT, PODS
from holdfast.plugins.node.placement import message
from holdfast.plugins.node.placement.active_rules import ActiveRules, uid_of
from holdfast.plugins.node.placement.bundled import BundledRules
from holdfast.plugins.node.placement.refused_annotations import RefusedAnnotations
from holdfast.plugins.node.placement.report_log import ReportLog
from holdfast.plugins.node.placement.service import PlacementService
from holdfast.pods import cgroup_path
from holdfast.pods.directory import Directory, Start
from holdfast.process import read_boot_id

if TYPE_CHECKING:
    from holdfast.plugins.node.placement.recorder import Recorder

LOG = log.named(__name__)
NAMESPACE = "holdfast"  # of the events; placement is in no client's namespace
KMSG = "/dev/kmsg"
BEAT_S = 2.0  # between two checks whether the engine's thread goes on; each wakes the loop, on an idle node too
GIVEN_UP_S = 30.0  # an engine that hangs for so long does not recover
ENTRY_S = 2.0  # in which the script that most containers start with has executed the program
#: How long the loop's thread may keep the interpreter from the engine's. The default, 5 ms, is a process's life.
SWITCH_S = 0.0005


class ReportForwarder:
    """Carries the reports of the engine's thread to the loop: to watchers and the event exchange.

    Without a watcher or subscriber, reports are kept and do not wake the loop: an exec would cost the daemon twice as
    much.
    """

    def __init__(self, exchange: Exchange, log: ReportLog) -> None:
        #: Called on the loop with each kill, also one from before the start that was not recorded.
        self.kill_to: Callable[[Kill], None] | None = None
        self._exchange, self._log = exchange, log
        self._loop = asyncio.get_running_loop()
        self._reports: deque[Report] = deque()
        self._called = False

    def report(self, report: Report) -> None:
        """Pass a report on; on the engine's thread, or the loop's."""
        self._log.append(report)
        is_heard = self._exchange.is_heard
        if is_heard:
            self._reports.append(report)
        if (is_heard or self._log.is_watched) and not self._called:  # one call for a burst
            self._called = True
            self._on_the_loop(self._tell_all)

    def kill(self, kill: Kill) -> None:
        """Pass a kill on and publish it; on the engine's thread."""
        self.past_kill(kill)
        self._on_the_loop(self._publish, "/oom/kill", message.kill(kill))

    def past_kill(self, kill: Kill) -> None:
        """Pass on a kill from before the start; on the engine's thread."""
        if self.kill_to is not None:
            self._on_the_loop(self.kill_to, kill)

    def rejected(self, reason: str) -> None:
        """Publish that a bundle's rules cannot be used; on the loop."""
        self._publish("/config/rejected", ConfigRejected(reason=valid(reason)))

    def _on_the_loop(self, act, *arguments) -> None:  # type: ignore[no-untyped-def]
        try:
            self._loop.call_soon_threadsafe(act, *arguments)
        except RuntimeError:  # the loop is closed: the daemon ends, and no listener is left
            return

    def _tell_all(self) -> None:
        self._called = False  # first: a report that is added from now on calls again
        self._log.wake()
        while self._reports:
            report = self._reports.popleft()
            if self._exchange.is_heard:
                self._publish(f"/placement/{report.happening}", message.report(report))

    def _publish(self, topic: str, event: Message) -> None:
        self._exchange.publish(topic, event, NAMESPACE)


class PodsByPath:
    """Finds a pod by a cgroup's name alone (`model.process.PodLookup`)."""

    pod_of = staticmethod(cgroup_path.pod_of)


class StartLooks:
    """Makes the engine check a container's processes at its start, and once more after `ENTRY_S`. On the loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._loop = engine, asyncio.get_running_loop()

    def started(self, start: Start) -> None:
        """Make the engine check the processes of a container that runs, now and after `ENTRY_S`."""
        self._engine.examine_container(start.pod, start.group, start.pid)
        self._loop.call_later(ENTRY_S, self._engine.examine_container, start.pod, start.group, start.pid)


def pods_of(context: InitContext) -> PodLookup:
    """Return the directory of pods; where it is disabled, a look-up by their cgroups' names."""
    return next(iter(context.all(PODS).values()), PodsByPath())


def cgroups_of(context: InitContext) -> tuple[Hierarchy, str]:
    """Return the host's cgroup tree; else an empty one and the reason: an ``oom_score_adj`` needs none."""
    try:
        return context.by_id(CGROUPS, "hierarchy"), ""
    except SkipPlugin as reason:
        return Hierarchy({}, writable=False), reason.message


def tell_what_is_missing(context: InitContext, hierarchy: Hierarchy, without: str) -> None:
    """Log one line for each missing privilege; where nothing can be enforced, report it in health."""
    seen = read_vantage(
        context.places.proc_root, PodsByPath(), without_cgroups=without, cgroups_writable=hierarchy.writable
    )
    found = lacks(seen)
    for lack in found:
        LOG.warning(f"missing: {lack.what}", effect=lack.effect, remedy=lack.remedy)
    if found:
        context.exports["missing"] = "; ".join(lack.what for lack in found)
    if any(lack.disabling for lack in found):
        for service in context.registration.services:
            context.serving.set(service, False)


async def outlast(engine: Engine, fault: Callable[[str], None]) -> None:
    """Wait for the engine's end; call ``fault`` with each problem meanwhile, and with an empty text when it is over.

    Time in which this loop did not run either does not count as a hang of the engine: the whole daemon was stopped, or
    had no processor.

    Raises:
        Unavailable: it has ended, or hangs for good: no process is placed now; only a new daemon process helps.
    """
    ended = asyncio.wrap_future(engine.ended)
    said, stopped_s, now = "", 0.0, time.monotonic()
    while not ended.done():
        await asyncio.wait({ended}, timeout=BEAT_S)
        before, now, busy_s = now, time.monotonic(), engine.busy_s
        stopped_s = stopped_s if busy_s > now - before else 0.0  # the engine began another turn since the last beat
        stopped_s = min(busy_s, stopped_s + max(0.0, now - before - 2 * BEAT_S))
        trouble = engine.trouble
        if trouble and not said:
            LOG.error("placement engine hangs", at=engine.where())
        if bool(trouble) != bool(said):
            fault(trouble)
        said = trouble
        if busy_s - stopped_s > GIVEN_UP_S:
            raise Unavailable(f"{trouble} at {engine.where()}")
        if not engine.is_running and not engine.ended.done():
            raise Unavailable("a thread of the placement engine is gone")
    error = ended.exception()
    raise Unavailable(f"the placement engine ended: {type(error).__name__}: {error}" if error else "it was ended")


def recorder_of(context: InitContext, boot_id: str, kills: Kills) -> Recorder | None:
    """Return the started recorder of Kubernetes Events; where there is no API server, log one line and return None."""
    from holdfast.plugins.node.placement.api_server import ApiServer
    from holdfast.plugins.node.placement.recorder import Recorder, node_name

    server = ApiServer.of(os.environ)
    if server is None:
        LOG.warning(
            "no Kubernetes Events are written: a service account's token is not mounted",
            remedy="set serviceAccount.automountToken or kubernetes_events: false",
        )
        return None
    recorder = Recorder(server, node_name(os.environ), boot_id, kills.told)
    recorder.start()
    return recorder


@contextmanager
def kills_recorded(pods: PodLookup, kills: Kills, recorder: Recorder, forwarder: ReportForwarder) -> Iterator[Counter]:
    """Record each kill in a pod in an Event, also kills from before the start without one; give the others' counter."""
    from holdfast.plugins.node.placement.kill_events import PAST_S, KillEvents

    directory = pods if isinstance(pods, Directory) else Directory()
    events = KillEvents(directory, recorder.kill)
    untold: tuple[Kill, ...] = ()
    try:
        untold = kills.untold(time.time_ns() - int(PAST_S * 1e9))
    except Unavailable as error:
        LOG.warning("OOM kills from before the start get no Events", error=error.message)
    with events.following(untold):
        forwarder.kill_to = events.kill
        yield events.unknown
        forwarder.kill_to = None


def remarks_on(config: PlacementConfig) -> list[Remark]:
    """Return why a configuration is refused; else warnings about rules that are legal and cannot be meant."""
    faults = list(faults_of(config))
    return faults or [Remark(path, words) for path, words in warnings_of(config, uid_of)]


@contextmanager
def pods_followed(pods: PodLookup, engine: Engine, refused_annotations: RefusedAnnotations) -> Iterator[None]:
    """Report new and changed pods to the engine and the check of annotations; nothing without the directory of pods."""
    with ExitStack() as ends:
        if isinstance(pods, Directory):
            ends.callback(pods.on_change(engine.examine_groups))
            ends.callback(pods.on_pod(refused_annotations.check_pod))
            ends.callback(pods.on_start(StartLooks(engine).started))
        yield


def engine_of(
    context: InitContext,
    hierarchy: Hierarchy,
    journal: Journal,
    kills: Kills,
    forwarder: ReportForwarder,
    pods: PodLookup,
) -> Engine:
    """Return the engine, not started yet."""
    return Engine(
        Loop(
            EngineSettings(context.places.proc_root, KMSG, context.config.rescan),
            hierarchy,
            journal,
            kills,
            EngineListeners(forwarder.report, forwarder.kill, forwarder.past_kill),
            pods,
        )
    )


def warn_of_restart(context: InitContext, config: PlacementConfig, fresh: PlacementConfig) -> None:
    """Log the changed keys that a reload does not put in force."""
    for key in ("rescan", "kills_kept", "kubernetes_events"):
        if getattr(fresh, key) != getattr(config, key):
            LOG.warning("changed setting needs a restart", key=f"plugins.{context.uri}.{key}")


@plugin(
    PLACEMENT,
    "rules",
    requires=[CGROUPS, EVENTS, BUNDLES, PODS],
    config=PlacementConfig,
    services=["holdfast.placement.v1.Placement"],
    remarks=remarks_on,
)
async def placement(context: InitContext) -> AsyncIterator[PlacementService]:
    """Keep each process where its rule says; a setting decides whether values are restored on stop."""
    config: PlacementConfig = context.config
    hierarchy, without = cgroups_of(context)
    tell_what_is_missing(context, hierarchy, without)
    reports = ReportLog()
    forwarder = ReportForwarder(context.single(EVENTS), reports)
    boot_id = read_boot_id(context.places.proc_root)
    journal = Journal(context.root_dir / "journal", boot_id)
    kills = Kills(context.root_dir / "kills.db", boot_id, config.kills_kept)
    pods = pods_of(context)
    engine = engine_of(context, hierarchy, journal, kills, forwarder, pods)
    current = [config]
    bundled = BundledRules(lambda: context.single(BUNDLES), forwarder.rejected)
    active_rules = ActiveRules(engine, bundled)
    recorder = recorder_of(context, boot_id, kills) if config.kubernetes_events else None
    refused_annotations = RefusedAnnotations(forwarder.report, recorder.tell if recorder is not None else None)

    def hangs(why: str) -> None:
        context.fault("engine", why, vital=True)

    def put_in_force(fresh: PlacementConfig) -> None:
        active_rules.apply(fresh)
        refused_annotations.set_table(active_rules.rules.admitted, pods.pods() if isinstance(pods, Directory) else ())

    put_in_force(config)
    bundled.follow(lambda: current[0], put_in_force)

    def reload(fresh: PlacementConfig) -> None:
        put_in_force(fresh)
        warn_of_restart(context, config, fresh)
        current[0] = fresh

    active_rules.changed_otherwise = context.on_reload(reload)
    families = [*bundled.families, refused_annotations.refused]
    ends = ExitStack()
    if recorder is not None:
        ends.callback(recorder.close)
        families += [recorder.written, ends.enter_context(kills_recorded(pods, kills, recorder, forwarder))]
    context.metrics.add(*families)
    engine.metrics.register(context.metrics)
    sys.setswitchinterval(SWITCH_S)
    engine.start()
    context.background("engine", lambda: outlast(engine, hangs), vital=True)
    ends.enter_context(pods_followed(pods, engine, refused_annotations))
    yield PlacementService(engine, active_rules, reports)
    ends.close()
    engine.metrics.unregister(context.metrics)
    context.metrics.remove(*families)
    await asyncio.to_thread(engine.stop, restore=current[0].on_stop == "restore")
    journal.close()
    kills.close()
