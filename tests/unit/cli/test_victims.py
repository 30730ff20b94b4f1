from google.protobuf.timestamp_pb2 import Timestamp
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.cli.victims import ranked, told
from holdfast.wording import next_in_line

ANSWER = pb.VictimsResponse(page_bytes=4096, uncertainty_pages=256)


def one(pid, points=None, **given):
    return pb.Candidate(pid=pid, comm=f"p{pid}", points=points, memory_pages=256, **given)


def test_a_domain_is_a_table_with_the_place_after_the_rules():
    ranking = pb.Ranking(
        domain="/web",
        limit_pages=2560,
        swap_pages=256,
        usage_pages=512,
        processes=3,
        now=pb.Order(candidates=[one(5, 512, rule="r"), one(6, 256), one(1, why="init")], margin_pages=256),
        after_rules=pb.Order(candidates=[one(6, 1024), one(5, 512)], margin_pages=512),
    )
    assert ranked(ranking, ANSWER) == [
        "/web: 10.0 MiB and 1.0 MiB swap, 2.0 MiB used, 3 processes",
        "  #    PID    NAME    ADJ    MEMORY     POINTS          # AFTER THE RULES    RULE",
        "  1    5      p5      0      1.0 MiB    2.0 MiB         2                    r",
        "  2    6      p6      0      1.0 MiB    1.0 MiB         1                    -",
        "  3    1      p1      0      1.0 MiB    never (init)    later                -",
        "  now:             p5 (5), 1.0 MiB ahead (counters may be off by 1.0 MiB)",
        "  after the rules: p6 (6), 2.0 MiB ahead (counters may be off by 1.0 MiB)",
    ]


def test_candidates_in_pods_are_called_by_them():
    pod = pb.Pod(uid="u", namespace="db", name="pg-0", container="postgres")
    order = pb.Order(candidates=[one(5, 512, pod=pod), one(6, 256)], margin_pages=256)
    lines = ranked(pb.Ranking(domain="/", limit_pages=2560, processes=2, now=order, after_rules=order), ANSWER)
    assert [line.split()[-1] for line in lines[1:4]] == ["POD", "db/pg-0/postgres", "-"]
    assert lines[4].startswith("  now:             p5 (5) db/pg-0/postgres, 1.0 MiB ahead")
    assert next_in_line(order) == "p5 (5) db/pg-0/postgres"


def test_a_kill_is_told_on_one_screen():
    kill = pb.Kill(
        at=Timestamp(seconds=1_700_000_000),
        pid=9,
        comm="hog",
        uid=7,
        domain="/web",
        group="/web/x",
        rss_pages=512,
        oom_score_adj=3,
        pod="db/pg-0",
        container_id="c" * 64,
        predicted=[pb.Standing(pid=9, comm="hog", points=768, oom_score_adj=3), pb.Standing(pid=8, comm="b", points=1)],
        looked_at=Timestamp(seconds=1_699_999_990),
        pressure_pct=4.25,
    )
    assert told(kill, 4096) == [
        "hog (9), user 7, was killed at 2023-11-14 22:13:20 UTC",
        "  ran out        /web",
        "  was in         /web/x",
        "  had            2.0 MiB in memory, oom_score_adj 3",
        "  rule           none",
        "  pod            db/pg-0, container cccccccccccc",
        "  pressure       4.2 % of the ten seconds before, work waited for memory",
        "  in line        10 s before",
        "    #    PID    NAME    ADJ    POINTS",
        "    1    9      hog     3      3.0 MiB    killed",
        "    2    8      b       0      0.0 MiB",
    ]


def test_a_kill_of_the_node_nothing_is_known_of_is_told_too():
    assert told(pb.Kill(pid=9, comm="a", domain="/"), 4096)[1:3] == [
        "  ran out        the node",
        "  was in         not known",
    ]
