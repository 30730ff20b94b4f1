from collections import deque

from google.protobuf.timestamp_pb2 import Timestamp
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.cli.top import Seen, screen
from rich.console import Console

POD = pb.Pod(uid="u", namespace="db", name="pg-0", container="postgres")


def shown(height=60, placements=(), victims=(), reports=()):
    """The screen's lines."""
    seen = Seen(
        pb.StatusResponse(),
        pb.ListRulesResponse(),
        pb.VictimsResponse(page_bytes=4096, rankings=victims),
        pb.ListPlacementsResponse(placements=placements),
        deque(reports),
    )
    console = Console(width=140, color_system=None)
    with console.capture() as caught:
        console.print(screen(seen, height))
    return [line.split() for line in caught.get().splitlines()]


def placed(pid, state="held", pod=POD, rule="r"):
    return pb.PlacementInfo(pid=pid, comm="postgres", rule=rule, state=state, pod=pod)


def test_pods_under_rules_are_a_table_with_what_is_refused_on_top():
    other = pb.Pod(uid="u2", namespace="web", name="w-1", container="main")
    unnamed = pb.Pod(uid="1d5fb235")
    lines = shown(
        placements=[
            placed(1),
            placed(2),
            placed(3, "refused", other),
            placed(4, "planned", unnamed),
            placed(5, pod=None),
        ]
    )
    at = lines.index(["pods", "under", "rules"]) + 4  # under the head and its line
    assert lines[at : at + 3] == [
        ["web/w-1/main", "r", "0", "0", "1"],
        ["1d5fb235", "r", "0", "1", "0"],
        ["db/pg-0/postgres", "r", "2", "0", "0"],
    ]


def test_a_node_without_pods_has_no_such_table():
    assert ["pods", "under", "rules"] not in shown(placements=[placed(5, pod=None)])


def test_more_pods_than_there_is_room_for_are_counted():
    many = [placed(pid, pod=pb.Pod(uid="u", namespace="db", name=f"p-{pid:02}", container="c")) for pid in range(1, 13)]
    assert ["…", "and", "7", "more:", "holdfast", "ps"] in shown(height=25, placements=many)


def test_the_next_victim_and_what_happened_are_called_by_their_pods():
    order = pb.Order(candidates=[pb.Candidate(pid=5, comm="postgres", points=9, pod=POD)])
    ranking = pb.Ranking(domain="/", limit_pages=256, now=order, after_rules=order)
    happened = [
        pb.Report(happening="held", pid=5, comm="postgres", rule="r", at=Timestamp(seconds=1), pod=POD),
        pb.Report(happening="refused", rule="annotation", at=Timestamp(seconds=2), pod=POD, detail="why"),
        pb.Report(happening="held", pid=6, comm="sshd", rule="r", at=Timestamp(seconds=3)),
    ]
    lines = shown(victims=[ranking], reports=happened)
    (victim,) = [line for line in lines if line[:2] == ["the", "node"]]
    assert victim.count("db/pg-0/postgres") == 2
    assert ["00:00:01", "held", "postgres", "(5)", "r", "db/pg-0/postgres"] in lines
    assert ["00:00:02", "refused", "-", "annotation", "db/pg-0/postgres", "why"] in lines
    assert ["00:00:03", "held", "sshd", "(6)", "r", "-"] in lines
