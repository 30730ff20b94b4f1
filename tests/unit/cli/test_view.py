"""The screen of top: its lists, and what each key does to them."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.cli.view import HEAD_AT, KEYS, TABS, Seen, View, printed

POD = pb.Pod(uid="u", namespace="db", name="pg-0", container="postgres")
ORDER = pb.Order(candidates=[pb.Candidate(pid=5, comm="postgres", points=9, pod=POD)])


def placed(pid, state="held", pod=POD, rule="r", **given):
    return pb.PlacementInfo(pid=pid, comm=f"p{pid}", rule=rule, state=state, pod=pod, **given)


def seen(placements=(), reports=(), rankings=()):
    status = pb.StatusResponse(
        last_sweep_processes=65, last_sweep=Duration(nanos=10**8), pressure_pct={"memory_some": 1.5, "memory_full": 1}
    )
    rules = pb.ListRulesResponse(
        rules=[pb.RuleInfo(name="idle"), pb.RuleInfo(name="busy", dry_run=True, processes={"planned": 2})]
    )
    victims = pb.VictimsResponse(page_bytes=4096, rankings=rankings)
    return Seen(status, rules, victims, pb.ListPlacementsResponse(placements=placements), reports)


def rows(view, found, columns=80, lines=24):
    """The rows of the list, without the lines around it."""
    frame = view.lines(found, columns, lines)
    assert len(frame) == lines
    assert {len(line) for line in frame} == {columns}
    return [line.rstrip() for line in frame[HEAD_AT + 1 : -1] if line.strip()]


def press(view, keys):
    for key in keys:
        assert view.press(key)
    return view


def test_the_first_screen_has_state_tabs_processes_and_keys_on_80_by_24():
    found = seen([placed(1, adj_before=3)], rankings=[pb.Ranking(domain="/", now=ORDER)])
    lines = [line.rstrip() for line in View().lines(found, 80, 24)]
    assert lines[:5] == [
        "holdfast: on · process events arrive · rescan 65 processes in 100 ms",
        "pressure (10 s): memory 1.5 % · next victim: postgres (5) db/pg-0/postgres",
        "[1 processes] 2 pods  3 rules  4 victims  5 events",
        "PID  NAME  RULE  STATE  ADJ  BEFORE  POD",
        "1    p1    r     held   0    3       db/pg-0/postgres",
    ]
    assert lines[-1] == KEYS
    assert len(KEYS) <= 80


def test_each_tab_is_a_list():
    reports = (
        pb.Report(happening="held", pid=5, comm="postgres", rule="r", at=Timestamp(seconds=1), pod=POD),
        pb.Report(happening="refused", rule="annotation", at=Timestamp(seconds=2), pod=POD, detail="why"),
    )
    other = pb.Pod(uid="1d5fb235")
    ranking = pb.Ranking(domain="/", limit_pages=256, now=ORDER, after_rules=ORDER)
    found = seen([placed(1), placed(2), placed(3, "refused", other), placed(4, pod=None)], reports, [ranking])
    lists = {TABS[int(key) - 1].name: rows(press(View(), key), found, 140) for key in "2345"}
    assert lists == {
        "pods": ["1d5fb235          r     0     0        1", "db/pg-0/postgres  r     2     0        0"],
        "rules": [
            "busy  dry run  yours  0     2        0       0",
            "idle  on       yours  0     0        0       0",
        ],
        "victims": [
            "the node  -     1.0 MiB  postgres (5) db/pg-0/postgres  postgres (5) db/pg-0/postgres",
        ],
        "events": [
            "00:00:02    refused  -             annotation  db/pg-0/postgres  why",
            "00:00:01    held     postgres (5)  r           db/pg-0/postgres  -",
        ],
    }
    assert rows(press(View(), ["tab"] * len(TABS)), found) == rows(View(), found)


def pids(view, found, **size):
    return [int(row.split()[0]) for row in rows(view, found, **size)]


def test_s_sorts_by_one_column_after_the_other_and_r_turns_the_order_round():
    found = seen([placed(10, rule="b", oom_score_adj=5), placed(9, rule="c"), placed(8, rule="a", oom_score_adj=-5)])
    view = View()
    assert pids(view, found) == [10, 9, 8]
    assert pids(press(view, "s"), found) == [8, 9, 10], "by pid, as numbers"
    assert pids(press(view, "ss"), found) == [8, 10, 9], "by rule"
    assert pids(press(view, "r"), found) == [9, 10, 8]
    assert view.lines(found, 80, 24)[2].rstrip().endswith("  by rule↓")
    assert pids(press(view, "rss"), found) == [8, 9, 10], "by adj"
    assert pids(press(view, "sss"), found) == [10, 9, 8], "after the last column in the list's own order"


def test_the_filter_selects_rows_by_any_text_in_them():
    found = seen([placed(pid, rule="web" if pid % 2 else "db") for pid in range(1, 9)])
    view = press(View(), ["/", "W", "x", "backspace", "e"])
    assert view.lines(found, 80, 24)[-1].startswith("filter: We_")
    assert pids(view, found) == [1, 3, 5, 7]
    assert pids(press(view, ["enter"]), found) == [1, 3, 5, 7]
    assert view.lines(found, 80, 24)[2].rstrip().endswith("  with 'We'")
    assert pids(press(view, ["escape"]), found) == list(range(1, 9))
    assert view.press("/")
    assert view.press("q"), "it is a letter of the filter now"
    assert pids(view, found) == []


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        (["down"], 2), (["down", "down", "up"], 2), (["up"], 1), (["page down"], 6), (["end"], 95),
        (["end", "home"], 1),
        (["page down", "page up"], 1), (["end", "down"], 95), (["end", "page up"], 90),
    ],
)  # fmt: skip
def test_the_list_scrolls_and_stays_within_its_rows(keys, first):
    found, view = seen([placed(pid) for pid in range(1, 101)]), View()
    rows(view, found, lines=11)  # six rows
    press(view, keys)
    assert pids(view, found, lines=11) == list(range(first, first + 6))
    assert f"{first}-{first + 5}/100" in view.lines(found, 80, 11)[2]


def test_a_list_that_became_shorter_shows_its_end():
    view = View()
    rows(view, seen([placed(pid) for pid in range(1, 101)]))
    press(view, ["end"])
    assert pids(view, seen([placed(1), placed(2)])) == [1, 2]


def test_p_pauses_and_q_ends():
    view = View()
    assert press(view, "p").is_paused
    assert view.lines(seen(), 80, 24)[2].rstrip().endswith("  PAUSED")
    assert not press(view, "p").is_paused
    assert not view.press("q")


def test_wide_characters_count_as_two_cells():
    found = seen([placed(1, rule="漢" * 60)])
    assert len(View().lines(found, 80, 24)[HEAD_AT + 1]) < 60


def test_without_keys_all_lists_are_below_each_other():
    lines = printed(seen([placed(pid) for pid in range(1, 21)]), 24)
    assert [line for line in lines if line in {tab.name for tab in TABS}] == ["processes", "pods", "rules"]
    assert "… and 15 more" in lines
    assert len(lines) <= 30
