"""``holdfast ps``: the processes under a rule."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.listing import OUTPUTS, Listing, Shown, list_options
from holdfast.cli.options import ClientCommand, client_options_for
from holdfast.cli.placement import stub
from holdfast.cli.suggestion import pod_namespaces, pods, rule_names
from holdfast.cli.table import NONE, Column
from holdfast.expression import literal
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
    left.ClearField("state_enum")
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
    from google.protobuf.field_mask_pb2 import FieldMask

    from holdfast.api.placement.v1.placement_pb2 import ListPlacementsRequest

    request = ListPlacementsRequest(rule=rule, filters=filters_of(states, namespace, pod))
    if client.output == "name" and not (shown.watch or shown.sort):
        request.read_mask.CopyFrom(FieldMask(paths=["pid"]))

    def ask() -> pb.ListPlacementsResponse:
        answer: pb.ListPlacementsResponse = client.ask(stub(client).ListPlacements, request)
        return answer

    PROCESSES.show(client, ask, shown)


def filters_of(states: Iterable[str], namespace: str, pod: str) -> list[str]:
    """The filters for processes in any of the states, and of pods in a namespace and of a name; * matches any text."""
    of_pod = [f"pod.namespace=={_quoted(namespace)}"] if namespace else []
    if "*" in pod:
        of_pod.append(f"pod.name~={_quoted('^' + '.*'.join(map(literal, pod.split('*'))) + '$')}")
    elif pod:
        of_pod.append(f"pod.name=={_quoted(pod)}")
    of_state: list[list[str]] = [[f"state=={state}"] for state in dict.fromkeys(states)]
    return [",".join(each) for each in ([*one, *of_pod] for one in of_state or [[]]) if each]


def _quoted(text: str) -> str:
    """A word of the command line as a value of the filter language, whose escapes JSON's are, too."""
    return json.dumps(text, ensure_ascii=False)
