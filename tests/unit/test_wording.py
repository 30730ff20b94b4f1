import pytest
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.wording import change_lines, feed_of, mode_of, next_in_line, refusals_of, remark, size, verdict

ADJ = pb.Change(field=pb.FIELD_OOM_SCORE_ADJ, before="0", after="-900")
ANSWER = pb.VictimsResponse(page_bytes=4096, uncertainty_pages=256)


def move(hierarchy):
    return pb.Change(field=pb.FIELD_CGROUP, before="/", after="/db", hierarchy=hierarchy, group="/db")


def test_changes_are_lines_and_a_move_in_several_hierarchies_is_one():
    setting = pb.Change(field=pb.FIELD_SETTING, after="5", group="/db", file="memory.max")
    known = pb.Change(field=pb.FIELD_SETTING, before="max", after="5", group="/db", file="pids.max")
    assert change_lines([ADJ, move("cpu,cpuacct"), setting, move("memory"), known]) == [
        "oom_score_adj 0 → -900",
        "cgroup / → /db (cpu,cpuacct, memory)",
        "/db memory.max = 5",
        "/db pids.max = 5 (was max)",
    ]
    assert change_lines([move("")]) == ["cgroup / → /db"]


@pytest.mark.parametrize(
    ("pages", "expected"), [(0, "0.0 MiB"), (256, "1.0 MiB"), (-256, "-1.0 MiB"), (2**22, "16.0 GiB")]
)
def test_pages_are_told_as_sizes(pages, expected):
    assert size(pages, 4096) == expected


def test_how_a_process_came_to_its_rule_is_said():
    told = [
        remark(pb.PlacementInfo(as_child=child, inherited=inherited, by_claim=claim))
        for child, inherited, claim in (
            (False, False, False),
            (True, False, False),
            (True, True, False),
            (False, False, True),
        )
    ]
    assert told == ["", " (child)", " (inherited)", " (by claim)"]


def one(pid, points=None, **given):
    return pb.Candidate(pid=pid, comm=f"p{pid}", points=points, memory_pages=256, **given)


def test_a_tie_a_group_kill_and_nobody_are_said():
    tie = pb.Order(candidates=[one(5, 9), one(6, 9)], tie=True, tied=2, margin_pages=0)
    group = pb.Order(candidates=[one(5, 9)], kill_group="/pod", killed_with_it=[5, 6], spared=[7])
    nobody = pb.Order(candidates=[one(1, why="init")])
    assert verdict(tie, ANSWER) == (
        "a tie of 2: any of them may be chosen, the kernel's counters are off by up to 1.0 MiB"
    )
    assert verdict(group, ANSWER) == "p5 (5); and with it all 2 of /pod (memory.oom.group) but 1 with -1000"
    assert verdict(nobody, ANSWER).startswith("no process can be chosen")
    assert [next_in_line(order) for order in (tie, group, nobody)] == [
        "p5 (5) or 1 other(s): a tie",
        "p5 (5) + 2 of its group",
        "no process",
    ]


def test_refusals_are_groups_with_the_largest_first():
    frozen = pb.Refusal(reason="frozen", detail="/db is frozen")
    capability = pb.Refusal(reason="capability", detail="CAP_SYS_RESOURCE is missing")
    placements = [pb.PlacementInfo(refusals=[frozen, capability]), pb.PlacementInfo(refusals=[capability])]
    assert refusals_of(placements) == [
        (2, "capability", "CAP_SYS_RESOURCE is missing"),
        (1, "frozen", "/db is frozen"),
    ]


def test_the_mode_of_a_rule_and_the_source_of_events_are_words():
    modes = [mode_of(pb.RuleInfo(dry_run=dry, suspended=suspended)) for dry, suspended in ((0, 0), (1, 0), (1, 1))]
    assert modes == ["on", "dry run", "suspended"]
    assert feed_of(pb.StatusResponse()) == "process events arrive"
    assert feed_of(pb.StatusResponse(events="no capability")) == "only rescans: no capability"
