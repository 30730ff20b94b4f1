"""Values for tests of the node work: a process, a v2 host, a v1 host, rules from YAML."""

from __future__ import annotations

from typing import Any

import msgspec
from holdfast.node.model.evidence import Evidence
from holdfast.node.model.process import HostFacts, Process
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.ruleset import Rules
from holdfast.node.rule.schema import Rule

#: Every key is a fact.
PROVEN = Evidence("", "", "")
V1_HIERARCHIES = ("cpu,cpuacct", "cpuset", "memory", "pids", "name=systemd", "")


def process(pid: int = 100, comm: str = "postgres", **given: Any) -> Process:
    values: dict[str, Any] = {
        "start_ticks": pid * 10,
        "ppid": 1,
        "cgroups": {"": "/system.slice/a.service"},
        "uids": (given.get("uid", 0),) * 3,
        "evidence": PROVEN,
    }
    return Process(pid=pid, comm=comm, **{**values, **given})


def v1_process(pid: int = 100, comm: str = "postgres", group: str = "/system.slice", **given: Any) -> Process:
    return process(pid, comm, cgroups=dict.fromkeys(V1_HIERARCHIES, group), **given)


def v2_host(**given: Any) -> HostFacts:
    values: dict[str, Any] = {
        "boot_id": "boot",
        "own_pid": 7,
        "memory_pages": 4_000_000,
        "cpus": 2,
        "kernel": (6, 18),
        "controllers": frozenset({"cpu", "cpuset", "io", "memory", "pids"}),
        "capabilities": frozenset({"CAP_SYS_RESOURCE"}),
    }
    return HostFacts(**{**values, **given})


def v1_host(**given: Any) -> HostFacts:
    return v2_host(**{"hierarchies": V1_HIERARCHIES, "controllers": frozenset(), **given})


def rules(*given: dict[str, Any], dry_run: bool = False, users: dict[str, int] | None = None) -> Rules:
    """Rules as the configuration holds them; a missing name is ``r1``, ``r2`` …, a missing action an adjustment.

    They trust claims unless one says otherwise: most tests are not about which process a rule may protect.
    """
    named = [
        {
            "name": f"r{at}",
            "trust_claims": True,
            **({} if {"oom_score_adj", "cgroup", "in_place"} & set(rule) else {"oom_score_adj": at}),
            **rule,
        }
        for at, rule in enumerate(given, 1)
    ]
    return compile_rules(msgspec.convert(named, tuple[Rule, ...]), (users or {}).get, dry_run=dry_run)
