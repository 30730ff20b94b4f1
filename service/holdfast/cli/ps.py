"""``holdfast ps``: the processes under a rule."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.listing import OUTPUTS, Listing, Shown, list_options
from holdfast.cli.options import ClientCommand, client_options_for
from holdfast.cli.placement import stub
from holdfast.cli.suggestion import pod_namespaces, pods, rule_names
from holdfast.cli.table import NONE, Column
from holdfast.wording import pod_name, remark

if TYPE_CHECKING:
    from holdfast.api.placement.v1 import placement_pb2 as pb

STATES = ("held", "moving", "planned", "refused", "partly", "inherited", "returning")
GONE = "gone"  # it has ended, or no rule is about it now


def _since(some: pb.PlacementInfo) -> str:
    return f"{some.since.ToDatetime():%Y-%m-%d %H:%M:%S}" if some.HasField("since") else NONE


def _gone(some: pb.PlacementInfo) -> pb.PlacementInfo:
    left = type(some)()
    left.CopyFrom(some)
    left.state = GONE
    return left


PROCESSES: Listing[pb.PlacementInfo] = Listing(
    field="placements",
    columns=(
        Column("PID", lambda some: str(some.pid), key=lambda some: some.pid),
        Column("NAME", lambda some: some.comm),
        Column("RULE", lambda some: some.rule + remark(some)),
        Column("STATE", lambda some: some.state),
        Column("ADJ", lambda some: str(some.oom_score_adj), key=lambda some: some.oom_score_adj),
        Column(
            "BEFORE",
            lambda some: str(some.adj_before) if some.HasField("adj_before") else NONE,
            key=lambda some: some.adj_before,
        ),
        Column("POD", lambda some: pod_name(some.pod) if some.HasField("pod") else NONE, seldom=True),
        Column("CGROUP", lambda some: some.group or NONE, wide=True),
        Column("SINCE (UTC)", _since, wide=True, key=lambda some: some.since.ToNanoseconds()),
        Column("WHY NOT", lambda some: some.refusals[0].detail if some.refusals else NONE, wide=True, seldom=True),
    ),
    name=lambda some: str(some.pid),
    identity=lambda some: (some.pid, some.start_ticks, some.rule),
    gone=_gone,
)


@click.command(cls=ClientCommand)
@click.option("--rule", default="", shell_complete=rule_names, help="Only processes under this rule.")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only in this state; several: any.")
@click.option(
    "-n", "--namespace", default="", shell_complete=pod_namespaces, help="Only processes of pods in this namespace."
)
@click.option("--pod", default="", shell_complete=pods, help="Only processes of pods of this name; * matches any text.")
@list_options(PROCESSES.columns)
@client_options_for("table", *OUTPUTS, pods=True)
def ps(client: DaemonClient, rule: str, states: tuple[str, ...], namespace: str, pod: str, shown: Shown) -> None:
    """List the processes under a rule: what each has, had before, and how far its rule got.

    With -o wide also the cgroup, since when, and the first reason why something is refused. -o name prints pids. With
    --watch a process that has ended, or that no rule is about now, is printed again, as "gone".
    """
    from holdfast.api.placement.v1.placement_pb2 import ListPlacementsRequest

    def is_wanted(some: pb.PlacementInfo) -> bool:
        is_named = fnmatchcase(some.pod.name, pod) if pod else True
        return (not states or some.state in states) and namespace in ("", some.pod.namespace) and is_named

    def ask() -> pb.ListPlacementsResponse:
        answer: pb.ListPlacementsResponse = client.ask(stub(client).ListPlacements, ListPlacementsRequest(rule=rule))
        kept = list(filter(is_wanted, answer.placements))
        del answer.placements[:]
        answer.placements.extend(kept)
        return answer

    PROCESSES.show(client, ask, shown)
