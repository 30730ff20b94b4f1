"""Processes that a rescan passes over: by a name, or a name in groups, that no rule holds for."""

from __future__ import annotations

import pytest
from holdfast.errors import ProcessGone
from holdfast.node.engine.match_cache import MatchCache
from holdfast.node.proc.parse import name_and_parent, printed
from holdfast.node.proc.reader import ProcReader
from holdfast.process import ProcRoot

from tests.fakes.placement import rules

NAMES = ["sh", "exactly-fifteen", "a b", "two\nlines", "pool_workqueue_release"]


@pytest.fixture
def put(tmp_path):
    """Puts what a rescan reads of a process into a proc file system of plain files."""

    def put(pid, comm="sh", ppid=1, groups="0::/a\n"):
        at = tmp_path / str(pid)
        at.mkdir()
        (at / "comm").write_text(f"{comm}\n")
        (at / "stat").write_text(f"{pid} ({comm}) S {ppid} 1 1 0 -1 0 1\n")
        (at / "cgroup").write_text(groups)

    return put


@pytest.fixture
def reader(tmp_path):
    with ProcRoot(str(tmp_path)) as proc:
        yield ProcReader(proc)


@pytest.fixture
def iter_candidates(reader):
    """The numbers of the processes to examine."""

    def iter_candidates(match_cache, known=(), followed=()):
        return [
            pid for pid, _ in reader.iter_candidates(sorted(reader.numbers()), match_cache.seen, set(known), followed)
        ]

    return iter_candidates


@pytest.mark.parametrize("comm", NAMES)
def test_a_name_is_one_and_the_same_wherever_it_is_read(put, reader, comm):
    put(7, comm, ppid=42)
    with reader.proc.open(7) as process:
        assert reader.name_of(process) == printed(comm)
        assert name_and_parent(reader.stat_of(process)) == (printed(comm), 42)


@pytest.mark.parametrize("comm", NAMES)
def test_a_name_that_no_rule_mentions_is_passed_over_once_it_was_seen(put, reader, iter_candidates, comm):
    put(7, comm)
    put(8, "postgres")
    match_cache = MatchCache(reader)
    match_cache.set_rules(rules({"match": {"comm": "postgres"}}))
    assert iter_candidates(match_cache) == [7, 8]
    assert not match_cache.could_match(comm)
    assert match_cache.could_match("postgres")
    assert iter_candidates(match_cache) == [8]
    with reader.proc.open(7) as process:
        assert match_cache.has(reader.name_of(process), process)


def test_who_is_known_or_a_child_of_somebody_followed_is_worth_a_look_whatever_the_name(put, reader, iter_candidates):
    for pid in (7, 8, 9):
        put(pid, ppid=40 + pid)
    match_cache = MatchCache(reader)
    match_cache.set_rules(rules({"match": {"comm": "postgres"}}))
    match_cache.could_match("sh")
    assert iter_candidates(match_cache) == []
    assert iter_candidates(match_cache, known={b"8"}) == [8]
    assert iter_candidates(match_cache, followed={49}) == [9]


def test_a_name_in_groups_counts_until_pods_may_be_others_unless_no_pod_can_have_it(put, reader, iter_candidates):
    put(7)
    put(8, "kthreadd", groups="0::/\n")
    put(9, "kthreadd", groups="0::/batch\n")
    match_cache = MatchCache(reader)
    match_cache.set_rules(rules({"match": {"cgroup": "/batch/**"}}, {"name": "b", "match": {"cgroup": "/batch"}}))
    for pid, comm in ((7, "sh"), (8, "kthreadd"), (9, "kthreadd")):
        match_cache.note(comm, reader.group_text(pid), in_no_pod=pid == 8)
    assert iter_candidates(match_cache) == [9]
    match_cache.forget_groups()
    assert iter_candidates(match_cache) == [7, 9]
    match_cache.set_rules(rules({"match": {"cgroup": "/**"}}))
    assert iter_candidates(match_cache) == [7, 8, 9]


def test_who_ended_meanwhile_is_left_to_the_look_that_follows(put, reader, tmp_path):
    put(7)
    match_cache = MatchCache(reader)
    found = list(reader.iter_candidates([b"6", b"7"], match_cache.seen, set(), ()))
    assert found == [(6, b""), (7, b"")]
    with pytest.raises(ProcessGone):
        reader.proc.open(6)
