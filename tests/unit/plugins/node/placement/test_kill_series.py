"""Which Events are written for which kills. The time is an argument."""

from collections import Counter

import pytest
from holdfast.node.model.memory_domain import Kill
from holdfast.plugins.node.placement import kill_series
from holdfast.plugins.node.placement.kill_series import (
    AGAIN_S,
    MOST_OF_POD,
    NODE_BURST,
    NODE_EVERY_S,
    POD_BURST,
    POD_EVERY_S,
    SERIES_S,
    UPDATE_S,
    KillSeries,
    Taken,
    name_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def kill(number, comm="worker", pod="u", at_ns=0, **given):
    facts = {"pod_namespace": "db", "pod_name": f"n-{pod}", "container": "app", "container_id": "c", **given}
    return Kill(at_ns or number, 7, comm, 0, "/d", "/g", 1, 0, pod=pod, number=number, **facts)


@pytest.fixture
def series():
    return KillSeries("boot", 0.0)


def writes(series, now):
    """All that may be written now."""
    found = []
    while (write := series.due(now)) is not None:
        found.append(write)
    return found


def test_the_first_kill_is_written_at_once(series):
    assert series.add(kill(5), "text", 1.0) is Taken.FIRST
    (write,) = writes(series, 1.0)
    assert (write.is_new, write.count, write.message, write.number) == (True, 1, "text", 5)
    assert (write.namespace, write.pod, write.uid) == ("db", "n-u", "u")
    assert series.wait_s(1.0) is None


def test_kills_that_are_alike_are_one_event_whose_count_grows(series):
    series.add(kill(1), "one", 0.0)
    (first,) = writes(series, 0.0)
    assert series.add(kill(2), "two", 1.0) is Taken.COUNTED
    assert series.add(kill(3), "three", 2.0) is Taken.COUNTED
    assert writes(series, 2.0) == []
    assert series.wait_s(2.0) == UPDATE_S - 2
    (again,) = writes(series, UPDATE_S)
    assert (again.name, again.is_new, again.count, again.message) == (first.name, False, 3, "three")
    assert (again.first_ns, again.last_ns, again.number) == (1, 3, 1)


@pytest.mark.parametrize("other", [{"comm": "x"}, {"container_id": "d"}, {"rule": "r"}])
def test_kills_that_differ_are_events_of_their_own(series, other):
    series.add(kill(1), "", 0.0)
    assert series.add(kill(2, **other), "", 0.0) is Taken.FIRST
    assert len({write.name for write in writes(series, 0.0)}) == 2


def test_the_same_kill_is_never_counted_twice(series):
    series.add(kill(1), "", 0.0)
    assert series.add(kill(1), "", 1.0) is Taken.AGAIN
    assert [write.count for write in writes(series, 100.0)] == [1]


def test_a_kill_has_the_same_name_after_a_restart_and_another_after_a_boot():
    assert name_of(kill(1), "boot") == name_of(kill(1), "boot")
    assert len({name_of(kill(1), "boot"), name_of(kill(2), "boot"), name_of(kill(1), "boot-2")}) == 3


@pytest.mark.parametrize("pod", ["p" * 253, "a." * 126 + "a", "a-" * 126 + "a"])
def test_the_name_of_an_event_is_one_that_the_api_takes(pod):
    name = name_of(kill(1, pod_name=pod), "boot")
    assert len(name) <= 253
    assert all(part and part.strip("-") == part for part in name.split("."))


def test_a_series_without_a_kill_for_its_time_is_over(series):
    series.add(kill(1), "", 0.0)
    writes(series, 0.0)
    assert series.add(kill(2), "", SERIES_S + 1) is Taken.FIRST
    assert series.size == 1


def test_the_rest_of_a_pod_with_many_kinds_of_kills_is_one_event(series):
    for number in range(MOST_OF_POD + 5):
        series.add(kill(number, comm=f"w{number}"), "text", 0.0)
    found = writes(series, 0.0)
    assert len(found) == MOST_OF_POD + 1
    assert (found[-1].message, found[-1].count) == ("(combined from similar events) text", 5)


def test_one_pod_keeps_no_other_from_its_event(series):
    for number in range(1000):
        series.add(kill(number, comm=f"w{number}"), "", 0.0)
    series.add(kill(2000, pod="other"), "", 0.0)
    assert [write.uid for write in writes(series, 0.0)].count("other") == 1


def test_a_pod_has_a_burst_and_then_a_pace_and_loses_nothing(series):
    total, times = 0, []
    counts = {}
    for number in range(2000):
        now = number * 0.5
        series.add(kill(number), "", now)
        for write in writes(series, now):
            times.append(now)
            counts[write.name] = write.count
            total += 1
    assert total <= POD_BURST + 1000 / POD_EVERY_S + 1
    (last,) = writes(series, 5000.0)
    assert counts.keys() == {last.name}
    assert last.count == 2000


def test_the_node_has_a_burst_and_then_a_pace_for_all_pods_together(series):
    for number in range(4 * NODE_BURST):
        series.add(kill(number, pod=f"p{number}"), "", 0.0)
    assert len(writes(series, 0.0)) == NODE_BURST
    assert series.wait_s(0.0) == NODE_EVERY_S
    assert len(writes(series, 10 * NODE_EVERY_S)) == 10


def test_what_was_refused_is_made_with_all_that_was_counted(series):
    series.add(kill(1), "", 0.0)
    (write,) = writes(series, 0.0)
    series.failed(write, 0.0, retry=False)
    assert series.wait_s(0.0) is None, "only another kill tries again"
    series.add(kill(2), "", 1.0)
    (again,) = writes(series, 1.0)
    assert (again.is_new, again.name, again.count) == (True, write.name, 2)


def test_what_the_server_could_not_take_is_tried_again_by_itself_for_as_long_as_it_cannot(series):
    series.add(kill(1), "", 0.0)
    now = 0.0
    for _ in range(100):
        (write,) = writes(series, now)
        assert (write.is_new, write.count) == (True, 1)
        series.failed(write, now, retry=True)
        assert writes(series, now) == []
        now += series.wait_s(now)
    assert now == 100 * AGAIN_S
    series.add(kill(2), "", now)
    (write,) = writes(series, now)
    assert (write.is_new, write.count) == (True, 2)
    assert series.wait_s(now) is None


def test_what_could_not_be_brought_up_to_date_is_again_and_not_made_anew(series):
    series.add(kill(1), "", 0.0)
    (made,) = writes(series, 0.0)
    series.add(kill(2), "", 1.0)
    (write,) = writes(series, UPDATE_S)
    series.failed(write, UPDATE_S, retry=True)
    (again,) = writes(series, UPDATE_S + AGAIN_S)
    assert (again.is_new, again.name, again.count) == (False, made.name, 2)


def test_where_every_series_waits_another_is_dropped(series, monkeypatch):
    monkeypatch.setattr(kill_series, "MOST", 3)
    for number in range(3):
        assert series.add(kill(number, pod=f"p{number}"), "", 0.0) is Taken.FIRST
    assert series.add(kill(9, pod="p9"), "", 0.0) is Taken.DROPPED
    assert series.add(kill(10, pod="p1"), "", 0.0) is Taken.COUNTED
    writes(series, 0.0)
    assert series.add(kill(11, pod="p9"), "", 0.0) is Taken.FIRST
    assert series.size == 3


STEPS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 12), st.floats(0, 700), st.booleans()), max_size=80
)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_each_kill_is_in_one_count_and_no_more_is_written_than_the_buckets_allow(steps):
    series, now, numbers = KillSeries("boot", 0.0), 0.0, set()
    taken: Counter[Taken] = Counter()
    counts: dict[str, int] = {}
    made: set[str] = set()
    spent: list[tuple[float, str]] = []
    for number, pod, comm, pause, written in steps:
        now += pause
        result = series.add(kill(number, comm=f"w{comm}", pod=f"p{pod}"), "", now)
        taken[result] += 1
        assert (result is Taken.AGAIN) == (number in numbers)
        numbers.add(number)
        for write in writes(series, now) if written else ():
            assert write.is_new == (write.name not in made)
            made.add(write.name)
            assert write.count > counts.get(write.name, 0)
            counts[write.name] = write.count
            spent.append((now, write.uid))
    while (wait_s := series.wait_s(now)) is not None:
        now += wait_s + 0.001
        for write in writes(series, now):
            counts[write.name] = write.count
            spent.append((now, write.uid))
    assert taken[Taken.DROPPED] == 0
    assert sum(counts.values()) == len(numbers)
    for at in {at for at, _ in spent}:
        window = [uid for then, uid in spent if at - 60 < then <= at]
        assert len(window) <= NODE_BURST + 60 / NODE_EVERY_S + 1
        assert max(Counter(window).values()) <= POD_BURST + 60 / POD_EVERY_S + 1
