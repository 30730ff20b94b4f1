from __future__ import annotations

import pytest
from holdfast.node.model.memory_domain import MemoryDomain
from holdfast.node.oom.victim import points_of, rank, uncertainty_pages
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.placement import process, v1_process, v2_host

HOST = v2_host(memory_pages=1_000_000, cpus=2)
NODE = MemoryDomain("/", HOST.memory_pages)


def some(pid, pages, adj=0, group="/a", **given):
    return process(pid, f"p{pid}", rss_pages=pages, oom_score_adj=adj, cgroups={"": group}, **given)


def order(ranking):
    return [(candidate.process.pid, candidate.points) for candidate in ranking.candidates]


def test_points_are_memory_plus_the_adjustment_in_thousandths_of_the_total_divided_first():
    big = process(rss_pages=100, swap_pages=20, page_table_pages=3, oom_score_adj=7)
    assert points_of(big, 7, 1_999) == 123 + 7 * 1
    assert points_of(big, -7, 999) == 123


def test_the_node_counts_swap_in_its_total():
    domain = MemoryDomain("/", 1_000_000, 500_000)
    assert rank([some(2, 10, 100)], domain, HOST).victim.points == 10 + 100 * 1500


def test_a_cgroup_counts_its_own_limit_and_only_its_own_processes():
    domain = MemoryDomain("/a", 10_000, swap_pages=5_000)
    processes = [
        some(2, 100, 10),
        some(3, 900),
        some(4, 5_000, group="/b"),
        some(5, 1, group="/a/x"),
        some(6, 9, group="/ab"),
    ]
    assert order(rank(processes, domain, HOST)) == [(3, 900), (2, 250), (5, 1)]


def test_on_v1_the_memory_hierarchy_counts():
    moved = v1_process(5, group="/elsewhere", rss_pages=5)
    moved = process(5, cgroups={**moved.cgroups, "memory": "/a"}, rss_pages=5)
    assert order(rank([moved], MemoryDomain("/a", 1_000), HOST)) == [(5, 5)]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"oom_score_adj": -1000}, "-1000"),
        ({"pid": 1}, "init"),
        ({"kernel_thread": True}, "a kernel thread"),
        ({"rss_pages": 0}, "no memory of its own"),
    ],
)
def test_some_are_never_picked_and_the_reason_is_said(given, why):
    (candidate,) = rank([process(**{"rss_pages": 10, **given})], NODE, HOST).candidates
    assert (candidate.points, candidate.why) == (None, why)


def test_nobody_to_pick_is_no_victim():
    ranking = rank([some(2, 10, -1000)], NODE, HOST)
    assert (ranking.victim, ranking.margin_pages, ranking.tie, ranking.group) == (None, None, False, "")
    assert rank([], NODE, HOST).victim is None


def test_at_equal_points_the_later_one_stands_first():
    assert [pid for pid, _ in order(rank([some(5, 10), some(9, 10), some(7, 10)], NODE, HOST))] == [9, 7, 5]


def test_a_lead_within_the_counters_error_is_a_tie():
    unsure = uncertainty_pages(HOST)
    close = rank([some(2, 1000 + unsure), some(3, 1000), some(4, 10)], NODE, HOST)
    clear = rank([some(2, 1001 + unsure), some(3, 1000)], NODE, HOST)
    assert (close.tie, close.margin_pages, [c.process.pid for c in close.tied]) == (True, unsure, [2, 3])
    assert (clear.tie, clear.margin_pages) == (False, unsure + 1)


@pytest.mark.parametrize(
    ("kernel", "cpus", "swap", "pages"),
    [((6, 18), 2, 0, 192), ((6, 18), 64, 0, 24576), ((6, 18), 2, 100, 256), ((6, 19), 64, 0, 0), ((5, 15), 64, 0, 192)],
)
def test_the_uncertainty_follows_the_kernels_counters(kernel, cpus, swap, pages):
    assert uncertainty_pages(v2_host(kernel=kernel, cpus=cpus, swap_pages=swap)) == pages


def test_after_the_rules_is_the_same_arithmetic_with_other_values():
    processes = [some(2, 900), some(3, 100), some(4, 500, group="/a")]
    domain = MemoryDomain("/a", 100_000)
    after = rank(processes, domain, HOST, adjusted={3: 800, 2: -999}, moved={4: "/b"})
    assert order(after) == [(3, 100 + 80_000), (2, 900 - 99_900)]


class TestGroupKill:
    PROCESSES = (
        some(2, 900, group="/a/c"),
        some(3, 100, group="/a/c/in"),
        some(4, 50, -1000, group="/a/c"),
        some(5, 1),
    )

    def test_the_topmost_group_below_the_domain_dies_with_the_victim(self):
        domain = MemoryDomain("/a", 100_000, group_kill=frozenset({"/a/c", "/a/c/in"}))
        ranking = rank(self.PROCESSES, domain, HOST)
        assert ranking.group == "/a/c"
        assert [p.pid for p in ranking.group_members] == [2, 3]
        assert [p.pid for p in ranking.spared] == [4]

    def test_a_group_above_the_domain_does_not_count(self):
        domain = MemoryDomain("/a/c", 100_000, group_kill=frozenset({"/a"}))
        assert rank(self.PROCESSES, domain, HOST).group == ""

    def test_the_nodes_own_oom_looks_at_every_group(self):
        assert (
            rank(self.PROCESSES, MemoryDomain("/", HOST.memory_pages, group_kill=frozenset({"/a"})), HOST).group == "/a"
        )


_SOME = st.tuples(st.integers(1, 10**6), st.integers(-1000, 1000))


@given(st.lists(_SOME, min_size=1, max_size=20), st.integers(1000, 10**7))
def test_the_first_is_never_beaten_and_nobody_is_lost(given, limit):
    processes = [some(pid, pages, adj) for pid, (pages, adj) in enumerate(given, 2)]
    ranking = rank(processes, MemoryDomain("/a", limit), HOST)
    assert sorted(c.process.pid for c in ranking.candidates) == [p.pid for p in processes]
    best = max((points_of(p, p.oom_score_adj, limit) for p in processes if p.oom_score_adj != -1000), default=None)
    assert (ranking.victim and ranking.victim.points) == best
    assert all(ranking.victim.points - c.points <= ranking.uncertainty_pages for c in ranking.tied)
