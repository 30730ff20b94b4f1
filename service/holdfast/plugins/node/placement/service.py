"""The Placement API over the engine: calls that wait for the kernel run in a thread, the engine does all writes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.api.placement.v1 import placement_pb2_grpc
from holdfast.cgroups import UNIFIED
from holdfast.errors import (
    ConfigError,
    NotFound,
    ProcessGone,
    ResourceExhausted,
    Unavailable,
)
from holdfast.inert import valid
from holdfast.node.engine.engine import Engine
from holdfast.node.journal.rows import FileRow
from holdfast.node.model.memory_domain import Kill, MemoryDomain
from holdfast.node.model.placement import BY_HAND, Placement, State
from holdfast.node.model.process import HostFacts, Process
from holdfast.node.oom.victim import Ranking, uncertainty_pages
from holdfast.node.plan.creation import ContainerAdjustment, ContainerRequest, at_creation
from holdfast.node.plan.plan import Explanation, explain
from holdfast.node.plan.preview import PreviewResult, look_ahead, rank_all
from holdfast.node.proc.pressure import Pressure
from holdfast.node.rule.annotation import BY_ANNOTATION
from holdfast.node.rule.builtin import with_builtin
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.file import read_rules
from holdfast.node.rule.ruleset import CompiledRule, Rules
from holdfast.plugins.node.placement import message
from holdfast.plugins.node.placement.error_reason import invalid, reasons
from holdfast.plugins.node.placement.list_maker import ListMaker
from holdfast.plugins.node.placement.report_log import ReportLog
from holdfast.plugins.node.placement.selection import Key, Selection, selection_of
from holdfast.plugins.node.placement.shared_run import SharedRun
from holdfast.plugins.node.placement.watching import Watches

if TYPE_CHECKING:
    from holdfast.pods.created import CreatedFile

DEFAULT_TTL_S = 3600.0
LONGEST_TTL_S = 30 * 86400.0
CANDIDATES = 10
KILLS = 1000
EVERY_KILL = 2**31  # more than are ever kept
MOST_CANDIDATES = 10_000  # of all groups together that one answer names, but for `CANDIDATES` of each
MOST_TRIED_BYTES = 256 * 1024  # of rules that are sent to be tried, some 5,000
TRIES_S = 30.0  # for the rules of one `Try`; one is tried at a time


class _Ranked(msgspec.Struct, frozen=True):
    """The OOM killer's ranking by memory domain, now and after the rules; ``domains`` are the paths of all domains."""

    pairs: tuple[tuple[Ranking, Ranking], ...]
    domains: frozenset[str]
    rules: Mapping[int, str]
    host: HostFacts


class RulesInForce(Protocol):
    """The rules in force, and how they were written."""

    @property
    def rules(self) -> Rules:
        """The rules in force."""

    @property
    def builtin(self) -> frozenset[str]:
        """The names of the built-in rules."""

    @property
    def changed_otherwise(self) -> Callable[[], object]:
        """The callback after rules were suspended: the next reload puts them in force, though they are unchanged."""

    def uid_of(self, name: str) -> int | None:
        """Return the number of a user of this node."""


class PlacementService(placement_pb2_grpc.PlacementServicer):
    """Handles the calls; see ``placement.proto`` for what each means."""

    def __init__(self, engine: Engine, active_rules: RulesInForce, reports: ReportLog) -> None:
        self._engine = engine
        self._active_rules = active_rules
        self._watches = Watches(reports, engine, self._check_engine)
        self._machine: HostFacts | None = None
        self._placed = SharedRun(self._placements)
        self._foreseen = SharedRun(self._look_ahead)
        self._ranked = SharedRun(self._rank_all)
        self._trying = asyncio.Semaphore(1)
        self._lists = ListMaker()
        self._written: tuple[Rules, dict[str, str]] = Rules(), {}

    def at_creation(self, container_request: ContainerRequest) -> ContainerAdjustment | None:
        """Return the values that the rules in force give a new container (for plugins, not a call of the API)."""
        if self._machine is None:
            self._machine = self._engine.host_facts()  # the part of it that a creation depends on does not change
        made = at_creation(container_request, self._active_rules.rules, self._machine)
        return None if made is None or made.rule in self._engine.status().suspended else made

    def adopt(self, pid: int, requested: int, written: int, rule: str) -> Future[None]:
        """Take over the first process of a container created with a rule's value; a restore gives it ``requested``."""
        return self._engine.adopt(pid, requested, written, rule)

    def adopt_files(self, group: str, files: Sequence[CreatedFile]) -> Future[None]:
        """Take over files of a container's v2 group, made with a rule's values, to restore them when the rule goes."""
        return self._engine.adopt_files(
            [FileRow(UNIFIED, group, some.file, some.before, some.rule, written=some.written) for some in files]
        )

    async def ListRules(self, request: pb.ListRulesRequest, context: object) -> pb.ListRulesResponse:  # noqa: N802
        """Return the rules in force, in order."""
        self._check_engine()
        in_force = self._active_rules.rules
        selection = selection_of(request, pb.RuleInfo, in_force.names)
        counts: dict[str, Counter[State]] = {}
        for some in self._engine.placements():
            counts.setdefault(some.rule, Counter())[some.state] += 1
        suspended, written = self._engine.status().suspended, self._as_written()

        def made(rule: CompiledRule) -> pb.RuleInfo:
            return pb.RuleInfo(
                name=valid(rule.name),
                reason=valid(rule.spec.reason),
                yaml=written[rule.name],
                dry_run=rule.dry_run,
                builtin=rule.name in self._active_rules.builtin,
                suspended=rule.name in suspended,
                processes={state.value: number for state, number in counts.get(rule.name, {}).items()},
                counts=message.counts(counts.get(rule.name, {})),
            )

        placed = list(enumerate(in_force.rules))
        rules, token = await self._lists.make(selection, placed, lambda pair: (pair[0],), lambda pair: made(pair[1]))
        return pb.ListRulesResponse(rules=rules, next_page_token=token)

    async def ListPlacements(  # noqa: N802
        self, request: pb.ListPlacementsRequest, context: object
    ) -> pb.ListPlacementsResponse:
        """Return the processes under a rule, by rule and pid; in pages by pid."""
        self._check_engine()
        self._check_rule(request.rule)
        selection = selection_of(request, pb.PlacementInfo)
        order = {name: at for at, name in enumerate(self._active_rules.rules.names)}
        wanted = [some for some in await self._placed.ask() if request.rule in ("", some.rule)]

        def by_rule(some: Placement) -> Key:
            return order.get(some.rule, -1), some.pid

        placements, token = await self._lists.make(selection, wanted, _by_pid, message.placement, by_rule)
        return pb.ListPlacementsResponse(placements=placements, next_page_token=token)

    def _placements(self) -> tuple[Placement, ...]:
        return self._engine.placements_now()

    async def Explain(self, request: pb.ExplainRequest, context: object) -> pb.ExplainResponse:  # noqa: N802
        """Explain one process against every rule."""
        if not request.pid:
            raise invalid("pid", "give the number of a process")
        with reasons():
            explained = await asyncio.to_thread(self._explain, request.pid)
        return message.explanation(explained, self._known().get(request.pid))

    def _explain(self, pid: int) -> Explanation:
        return explain(self._process(pid), self._active_rules.rules, self._engine.host_facts(), self._engine.claims())

    def _process(self, pid: int) -> Process:
        try:
            return self._engine.process(pid)
        except ProcessGone:
            raise NotFound(f"process {pid}", reason="PROCESS_NOT_FOUND") from None

    async def Preview(self, request: pb.PreviewRequest, context: object) -> pb.PreviewResponse:  # noqa: N802
        """Return the changes that the rules in force would make."""
        self._check_rule(request.rule)
        selection = selection_of(request, pb.Planned)
        return await self._selected(await self._foreseen.ask(), selection, request.rule)

    async def _selected(
        self, foreseen: pb.PreviewResponse, selection: Selection[pb.Planned], rule: str = ""
    ) -> pb.PreviewResponse:
        """Return the part of a preview that the caller wants."""
        if selection.is_everything and not rule:
            return foreseen
        wanted = [some for some in foreseen.planned if rule in ("", some.decision.rule)]
        planned, token = await self._lists.make(selection, wanted, lambda some: (some.process.pid,), lambda some: some)
        return pb.PreviewResponse(planned=planned, looked_at=foreseen.looked_at, next_page_token=token)

    def _look_ahead(self) -> pb.PreviewResponse:
        return _preview(self._preview_of(self._active_rules.rules)[1])

    async def Try(self, request: pb.TryRequest, context: object) -> pb.PreviewResponse:  # noqa: N802
        """Return the changes that other rules would make."""
        size = len(request.rules_yaml.encode(errors="replace"))
        if size > MOST_TRIED_BYTES:
            raise invalid("rules_yaml", f"{size} bytes are more than {MOST_TRIED_BYTES}: try them in parts")
        selection = selection_of(request, pb.Planned)
        async with self._trying:
            foreseen = await asyncio.to_thread(self._try, request.rules_yaml)
        return await self._selected(foreseen, selection)

    def _try(self, text: str) -> pb.PreviewResponse:
        until = time.monotonic() + TRIES_S

        def go_on() -> None:
            if time.monotonic() > until:
                raise ResourceExhausted(
                    f"rules_yaml: its rules take more than {TRIES_S:g} s on this node's processes",
                    reason="RULES_TOO_SLOW",
                    field="rules_yaml",
                )

        try:
            config = read_rules(text, "the rules sent")
            rules = compile_rules(
                with_builtin(config), self._active_rules.uid_of, dry_run=True, annotations=config.annotations
            )
        except ConfigError as error:
            error.reason, error.field = "INVALID_FIELD", "rules_yaml"
            raise
        return _preview(self._preview_of(rules, go_on)[1])

    def _preview_of(
        self, rules: Rules, go_on: Callable[[], None] = lambda: None
    ) -> tuple[tuple[Process, ...], PreviewResult]:
        processes = self._engine.processes()
        return processes, look_ahead(processes, rules, self._engine.host_facts(), go_on)

    async def Victims(self, request: pb.VictimsRequest, context: object) -> pb.VictimsResponse:  # noqa: N802
        """Rank the processes that the OOM killer would choose."""
        selection = selection_of(request, pb.Ranking)
        ranked = await self._ranked.ask()
        pairs = ranked.pairs
        if request.cgroup:
            path = "/" + request.cgroup.strip("/")
            if path not in ranked.domains:
                raise NotFound(f"{path}: memory cgroup with a limit", reason="CGROUP_NOT_FOUND", field="cgroup")
            pairs = tuple(pair for pair in pairs if valid(pair[0].domain.path) == path)
        most = min(len(pairs), selection.size or len(pairs))
        limit = min(request.limit or CANDIDATES, max(CANDIDATES, MOST_CANDIDATES // max(1, most)))
        rankings, token = await self._lists.make(
            selection, pairs, _by_domain, lambda pair: message.ranking(*pair, ranked.rules, limit)
        )
        return pb.VictimsResponse(
            rankings=rankings,
            page_bytes=ranked.host.page_bytes,
            uncertainty_pages=uncertainty_pages(ranked.host),
            next_page_token=token,
        )

    def _rank_all(self) -> _Ranked:
        host, domains = self._engine.host_facts(), self._engine.domains()
        processes, preview = self._preview_of(self._active_rules.rules)
        return _Ranked(
            rank_all(processes, _nearest_first(domains), host, preview),
            frozenset(valid(domain.path) for domain in domains),
            {some.process.pid: some.decision.rule or "" for some in preview.planned},
            host,
        )

    async def Kills(self, request: pb.KillsRequest, context: object) -> pb.KillsResponse:  # noqa: N802
        """Return the kills that are kept, newest first."""
        selection = selection_of(request, pb.Kill)
        if selection.is_paged and request.limit:
            raise invalid("limit", "it is for an answer without pages")
        most = EVERY_KILL if selection.is_paged or request.filters else request.limit or KILLS
        with reasons():
            kept = await asyncio.to_thread(self._engine.kills.latest, most)
        limit = request.limit or KILLS
        kills, token = await self._lists.make(selection, kept, _newest_first, message.kill, most=limit)
        return pb.KillsResponse(kills=kills, page_bytes=self._engine.host_facts().page_bytes, next_page_token=token)

    async def Status(self, request: pb.StatusRequest, context: object) -> pb.StatusResponse:  # noqa: N802
        """Return the state of the engine."""
        self._check_engine()
        status, rules = self._engine.status(), self._active_rules.rules.rules
        answer = message.made(
            pb.StatusResponse,
            events=status.events,
            last_sweep_cause=status.last_sweep.cause.value if status.last_sweep is not None else "",
            moves_waiting=status.moves_waiting,
            kubelet_cgroup=status.kubelet_cgroup,
            dry_run=bool(rules) and all(rule.dry_run for rule in rules),
            pressure_pct={_pressure_name(some): some.avg10_pct for some in self._engine.pressure()},
        )
        if status.last_sweep is not None:
            answer.last_sweep_processes = status.last_sweep.processes
            answer.last_sweep.FromNanoseconds(int(status.last_sweep.seconds * 1e9))
        return answer

    async def Hold(self, request: pb.HoldRequest, context: object) -> pb.PlacementInfo:  # noqa: N802
        """Override the value of one process."""
        self._check_engine()
        ttl_s = request.ttl.ToTimedelta().total_seconds() if request.HasField("ttl") else DEFAULT_TTL_S
        if not 0 < ttl_s <= LONGEST_TTL_S:
            raise invalid("ttl", f"{ttl_s:g} s is not above 0 and at most 30 days")
        if not -999 <= request.oom_score_adj <= 1000:
            raise invalid("oom_score_adj", f"{request.oom_score_adj} is not within -999 and 1000")
        start_ticks = request.start_ticks or None
        held = self._engine.hold(request.pid, start_ticks, request.oom_score_adj, ttl_s, request.reason)
        with reasons():
            return message.placement(await asyncio.wrap_future(held))

    async def Release(self, request: pb.ReleaseRequest, context: object) -> pb.ReleaseResponse:  # noqa: N802
        """End the override of a process: the rules decide again."""
        self._check_engine()
        with reasons():
            placed = await asyncio.wrap_future(self._engine.release(request.pid))
        return pb.ReleaseResponse(placement=message.placement(placed) if placed else None)

    async def Restore(self, request: pb.RestoreRequest, context: object) -> pb.RestoreResponse:  # noqa: N802
        """Restore values."""
        self._check_engine()
        self._check_rule(request.rule)
        given = self._engine.restore(rule=request.rule or None, pid=request.pid or None)
        try:
            with reasons():
                return message.restored(await asyncio.wrap_future(given))
        finally:  # also where the caller went away meanwhile: the values are restored all the same
            self._active_rules.changed_otherwise()

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.Report]:  # noqa: N802
        """Stream the reports that a client wants, from a beginning on."""
        self._check_rule(request.rule)
        async with aclosing(self._watches.stream(request, context)) as reports:
            async for report in reports:
                yield report

    def register_grpc(self, registrar: Any) -> None:
        """Offer the service; the read-only methods on TCP too."""
        placement_pb2_grpc.add_PlacementServicer_to_server(self, registrar)

    register_tcp = register_grpc

    def _check_engine(self) -> None:
        """Raise `Unavailable` while the engine does not work: its data is old, and it carries out no request."""
        if self._engine.trouble:
            raise Unavailable(self._engine.trouble, reason="ENGINE_UNAVAILABLE")

    def _check_rule(self, name: str) -> None:
        if name not in ("", BY_HAND, BY_ANNOTATION) and self._active_rules.rules.named(name) is None:
            raise NotFound(f'rule "{name}"', reason="RULE_NOT_FOUND", field="rule")

    def _as_written(self) -> dict[str, str]:
        """Return each rule in force as YAML: it takes a millisecond each, so it is done once."""
        rules, written = self._written
        if rules is not self._active_rules.rules:
            rules = self._active_rules.rules
            written = {rule.name: _as_yaml(rule.spec) for rule in rules.rules}
            self._written = rules, written
        return written

    def _known(self) -> dict[int, Placement]:
        return {some.pid: some for some in self._engine.placements()}


def _preview(preview: PreviewResult) -> pb.PreviewResponse:
    return pb.PreviewResponse(
        planned=[
            pb.Planned(process=message.process(some.process, command=False), decision=message.decision(some.decision))
            for some in preview.planned
        ],
        looked_at=preview.looked_at,
    )


def _by_pid(placement: Placement) -> Key:
    return (placement.pid,)


def _by_domain(pair: tuple[Ranking, Ranking]) -> Key:
    return tuple(valid(pair[0].domain.path).encode())


def _newest_first(kill: Kill) -> Key:
    """Return the place of a kill among the others; several may have one time, but not one process, too."""
    return -kill.at_ns, kill.pid


def _nearest_first(domains: tuple[MemoryDomain, ...]) -> list[MemoryDomain]:
    """Return the node, then the groups, the fullest first."""

    def used(domain: MemoryDomain) -> float:
        return domain.usage_pages / domain.limit_pages if domain.limit_pages else 1.0

    return sorted(domains, key=lambda domain: (domain.path != "/", -used(domain), domain.path))


def _pressure_name(pressure: Pressure) -> str:
    return f"{pressure.resource}_{'full' if pressure.full else 'some'}"


def _as_yaml(spec: msgspec.Struct) -> str:
    """Return a rule as YAML, without the values that are at their defaults."""
    import yaml

    plain = _without_defaults(spec)
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=110)


def _without_defaults(value: Any) -> Any:
    if not isinstance(value, msgspec.Struct):
        return list(value) if isinstance(value, tuple) else value
    given = {}
    for field in msgspec.structs.fields(value):
        inner = getattr(value, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if inner != default:
            given[field.name] = _without_defaults(inner)
    return given
