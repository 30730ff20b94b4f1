"""A stand-in for the placement engine with three processes, the rules in force beside it, and the service over both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from holdfast.client import Client
from holdfast.errors import ProcessGone
from holdfast.node.model.decision import Field, Reason, Refusal
from holdfast.node.model.memory_domain import Kill, MemoryDomain, RankedProcess
from holdfast.node.model.placement import Cause, Placement, Restored, State, Status, Sweep
from holdfast.node.plan.claims import Claims
from holdfast.node.proc.pressure import Pressure
from holdfast.plugins.node.placement.service import PlacementService
from holdfast.pods.cgroup_path import PodRef
from holdfast.rpc import Counters, GrpcRegistrar, InterceptorLayer
from msgspec.structs import replace

from tests.fakes.placement import process, rules, v2_host

INIT = process(1, "systemd", ppid=0)
LEADER = process(
    50,
    "postgres",
    rss_pages=9000,
    cmdline=("postgres", "-D"),
    pod=PodRef("u", "burstable", "c", namespace="db", name="pg-0"),
)
OTHER = process(60, "nginx", rss_pages=100, cgroups={"": "/web"})


def done(value):
    future = Future()
    future.set_result(value)
    return future


@dataclass
class StandIn:
    """The engine's face with three processes."""

    everybody: tuple = (INIT, LEADER, OTHER)
    held: list = field(default_factory=list)
    trouble: str = ""
    placed: tuple = (
        Placement(
            50,
            500,
            "postgres",
            "r1",
            state=State.PARTLY,
            oom_score_adj=-900,
            adj_before=0,
            group="/db",
            refusals=(Refusal(Reason.FROZEN, Field.CGROUP, "it is frozen"),),
            since_ns=1_700_000_000_000_000_000,
        ),
    )

    def placements(self):
        return self.placed

    def placements_now(self, rule=""):
        return tuple(some for some in self.placed if rule in ("", some.rule))

    def process(self, pid):
        found = next((some for some in self.everybody if some.pid == pid), None)
        if found is None:
            raise ProcessGone(str(pid))
        return found

    def processes(self):
        return self.everybody

    def claims(self):
        return Claims()

    def host_facts(self):
        return v2_host()

    def domains(self):
        return (
            MemoryDomain("/", 4_000_000),
            MemoryDomain("/system.slice", 100_000, usage_pages=10),
            MemoryDomain("/web", 1000, usage_pages=900),
        )

    def hold(self, *given):
        self.held.append(given)
        return done(replace(self.placed[0], rule="hold", expires_ns=1_800_000_000_000_000_000))

    def release(self, pid):
        return done(next((some for some in self.placed if some.pid == pid), None))

    def restore(self, rule=None, pid=None):
        self.held.append((rule, pid))
        return done(Restored(3, 1, 2, ("one line",)))

    def status(self):
        return Status(True, "no CAP_NET_ADMIN", Sweep(Cause.RELOAD, 90, 0.25), 4, frozenset({"r2"}))

    def pressure(self):
        return (Pressure("memory", False, 1.5, 0), Pressure("memory", True, 0.5, 0))

    def set_rules(self, some):
        self.in_force = some
        return done(None)

    @property
    def kills(self):
        return self

    def latest(self, limit=1000):
        kill = Kill(
            2_000_000_000,
            9,
            "hog",
            0,
            "/web",
            "/web",
            50,
            7,
            rule="r1",
            predicted=(RankedProcess(9, "hog", 57, 7),),
            looked_at_ns=1_000_000_000,
            pressure_pct=12.5,
        )
        return (kill,) * min(limit, 2)


class InForce:
    def __init__(self, *given):
        self.rules = rules(*given)
        self.builtin = frozenset({"r2"})
        self.changes = 0

    def changed_otherwise(self):
        self.changes += 1

    def uid_of(self, name):
        return {"postgres": 26}.get(name)


RULES = (
    {"match": {"comm": "postgres"}, "oom_score_adj": {"value": -900, "children": 0}, "reason": "a database"},
    {"match": {"comm": "nginx", "user": ["0-5"]}, "oom_score_adj": 1000, "dry_run": True},
)


@asynccontextmanager
async def serving(service: PlacementService, address: Path) -> AsyncIterator[None]:
    """The service on a real server with the daemon's layer."""
    registrar = GrpcRegistrar(InterceptorLayer(Counters()), lambda service: None, None)
    service.register_grpc(registrar)
    server = grpc.aio.server(handlers=[registrar])
    server.add_insecure_port(f"unix:{address}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


@asynccontextmanager
async def served(service: PlacementService, folder: Path) -> AsyncIterator[Client]:
    """The service on a server, and a client of it."""
    async with serving(service, folder / "s"), Client(f"{folder}/s") as client:
        yield client
