"""The gallery in ``examples/``: each directory's configuration, and the processes that its claims are about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import yaml
from holdfast.node.model.decision import AdjChange, Change, MoveChange
from holdfast.node.model.evidence import Evidence
from holdfast.node.model.process import GroupFacts, HostFacts, Process
from holdfast.node.plan.plan import plan
from holdfast.node.rule import builtin
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.file import read_rules
from holdfast.node.rule.ruleset import Rules
from holdfast.pods.cgroup_path import PodRef

from tests.fakes.placement import PROVEN, process, v2_host

FOLDER = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/README.md"))
KUBEPODS = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podu.slice/cri-containerd-c.scope"
INIT = process(1, "systemd", exe="/usr/lib/systemd/systemd", cgroups={"": "/init.scope"})
USERS = {"root": 0, "alice": 1000, "mallory": 1001} | {
    name: 990 - number
    for number, name in enumerate(("postgres", "redis", "kafka", "yarn", "ci", "orders", "reports", "vector"))
}


class Pod(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pod, as the container runtime reports it."""

    namespace: str
    name: str
    container: str
    labels: dict[str, str] = {}


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of ``processes.yaml``: a process, the rule that applies (none: null), and what the rule writes."""

    comm: str
    process: str = ""
    exe: str = ""
    cmdline: tuple[str, ...] = ()
    user: str = "root"
    cgroup: str = ""
    oom_score_adj: int = 0
    pod: Pod | None = None
    parent: Claim | None = None
    rule: str | None = ""
    writes: dict[str, int | str] = {}
    facts: bool = True

    @property
    def is_by_name(self) -> bool:
        """Whether the process can be started anywhere: it is described by its name and its command line alone."""
        return not (self.exe or self.cgroup or self.pod or self.parent or self.oom_score_adj or self.user != "root")

    def without_facts(self) -> Claim:
        """The same words, of which none is a fact."""
        return msgspec.structs.replace(self, facts=False)


def claims(name: str) -> list[Claim]:
    """The entries of one example."""
    return msgspec.convert(yaml.safe_load((FOLDER / name / "processes.yaml").read_text()), list[Claim])


def rules(name: str) -> Rules:
    """The rules of one example as they are when its dry run ends, the built-in ones that it names included."""
    config = read_rules((FOLDER / name / "holdfast.yaml").read_text(), name)
    return compile_rules(builtin.with_builtin(msgspec.structs.replace(config, dry_run=False)), USERS.get)


def build(claim: Claim, pid: int = 200) -> Process:
    """The process of an entry, with its parents; what only calls itself so has no evidence."""
    pod = claim.pod and PodRef(
        "u",
        "burstable",
        "c",
        namespace=claim.pod.namespace,
        name=claim.pod.name,
        container=claim.pod.container,
        labels=claim.pod.labels,
    )
    parent = claim.parent and build(claim.parent, pid - 50)
    return process(
        pid,
        claim.comm,
        exe=claim.exe,
        cmdline=claim.cmdline,
        uid=USERS.get(claim.user, 2000),
        cgroups={"": claim.cgroup or (KUBEPODS if pod else "/system.slice/a.service")},
        oom_score_adj=claim.oom_score_adj,
        pod=pod,
        evidence=PROVEN if claim.facts and claim.user != "mallory" else Evidence(),
        ancestors=(msgspec.structs.replace(parent, ancestors=()), *parent.ancestors) if parent else (INIT,),
    )


def host(*groups: str) -> HostFacts:
    """A node on which these groups have a ``TasksMax``, as systemd gives it to units."""
    return v2_host(groups=dict.fromkeys(groups, GroupFacts(values={"pids.max": "3568"})))


def written(changes: tuple[Change, ...]) -> Mapping[str, int | str]:
    """Return the values that the changes write, by file; ``cgroup`` for a move."""

    def one(change: Change) -> tuple[str, int | str]:
        if isinstance(change, AdjChange):
            return "oom_score_adj", change.after
        return ("cgroup", change.after) if isinstance(change, MoveChange) else (change.file, change.after)

    return dict(map(one, changes))


def decided(name: str, some: Process) -> tuple[str | None, Mapping[str, int | str], tuple[str, ...]]:
    """The rule, the writes and the reasons of refusals."""
    decision = plan(some, rules(name), host(*some.cgroups.values()))
    return decision.rule, written(decision.changes), tuple(one.reason.value for one in decision.refusals)
