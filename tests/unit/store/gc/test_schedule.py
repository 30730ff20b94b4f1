from __future__ import annotations

import pytest
from holdfast.store.gc.schedule import Schedule, Thresholds


def collected(thresholds: Thresholds, pause_s: float = 0.01) -> Schedule:
    """One that has just collected, at 1.0."""
    schedule = Schedule(thresholds, 0.0)
    schedule.begin()
    schedule.collected(1.0, pause_s)
    return schedule


def test_the_first_collection_is_after_the_startup_delay_even_if_nothing_happened():
    schedule = Schedule(Thresholds(startup_delay_s=0.1), 5.0)
    assert pytest.approx(5.1) == schedule.at
    assert schedule.due(5.1)


def test_without_a_startup_delay_nothing_is_planned_until_there_is_a_reason():
    schedule = Schedule(Thresholds(startup_delay_s=0, mutation_threshold=2), 0.0)
    assert schedule.at is None
    schedule.mutated(1.0, False)
    assert schedule.at is None
    schedule.mutated(2.0, False)
    assert schedule.at == 2.0
    schedule = Schedule(Thresholds(startup_delay_s=0), 0.0)
    schedule.mutated(1.0, True)
    assert schedule.at == 1.0


def test_pauses_take_at_most_their_share_of_the_time():
    schedule = collected(Thresholds(pause_threshold=0.02), pause_s=0.01)
    assert pytest.approx(1.0 + 0.01 / 0.02 - 0.01) == schedule.at
    schedule.begin()
    schedule.collected(2.0, 0.03)  # the average is 0.02 now
    assert pytest.approx(2.0 + 0.02 / 0.02 - 0.02) == schedule.at


def test_a_look_without_a_reason_is_the_last_until_there_is_one():
    schedule = collected(Thresholds())
    assert not schedule.due(2.0)
    assert schedule.at is None
    schedule.mutated(2.1, False)
    assert schedule.at is None, "one mutation is no reason"
    schedule.mutated(2.2, True)
    assert pytest.approx(2.49) == schedule.at
    assert schedule.due(2.49)


def test_a_reason_that_comes_long_after_the_last_look_is_looked_at_now():
    schedule = collected(Thresholds(mutation_threshold=2))
    assert not schedule.due(2.0)
    schedule.mutated(9.0, False)
    schedule.mutated(9.1, False)
    assert pytest.approx(9.1) == schedule.at


def test_a_request_after_a_look_without_a_reason_is_due_at_once():
    schedule = collected(Thresholds())
    assert not schedule.due(2.0)
    schedule.requested(2.1)
    assert pytest.approx(2.1) == schedule.at


def test_a_removal_waits_for_the_planned_look():
    schedule = collected(Thresholds())
    planned = schedule.at
    schedule.mutated(1.1, True)
    assert planned == schedule.at
    assert schedule.due(planned)


def test_as_many_removals_as_the_threshold_run_one_at_once():
    schedule = collected(Thresholds(deletion_threshold=2, schedule_delay_s=0.05))
    schedule.mutated(1.1, True)
    assert pytest.approx(1.49) == schedule.at
    schedule.mutated(1.2, True)
    assert pytest.approx(1.25) == schedule.at


def test_mutations_count_from_their_threshold():
    schedule = collected(Thresholds(mutation_threshold=3))
    for _ in range(2):
        schedule.mutated(1.1, False)
    assert not schedule.due(1.5)
    schedule.mutated(1.6, False)
    assert schedule.due(2.0)
    schedule = collected(Thresholds(mutation_threshold=0))
    for _ in range(1000):
        schedule.mutated(1.1, False)
    assert not schedule.due(1.5)


def test_a_request_runs_one_at_once_but_not_later_than_planned():
    schedule = collected(Thresholds(schedule_delay_s=0.1))
    schedule.requested(1.2)
    assert pytest.approx(1.3) == schedule.at
    schedule.requested(1.25)
    assert pytest.approx(1.3) == schedule.at
    assert schedule.due(1.3)


def test_a_request_during_a_collection_gets_another():
    schedule = collected(Thresholds())
    schedule.begin()
    schedule.requested(1.5)
    schedule.collected(2.0, 0.01)
    assert schedule.at == 2.0
    assert schedule.due(2.0)


def test_after_a_failure_another_is_tried_a_second_later():
    schedule = collected(Thresholds())
    schedule.begin()
    schedule.failed(2.0)
    assert pytest.approx(2.0 + 0.49 + 1.0) == schedule.at
    assert schedule.due(schedule.at)


@pytest.mark.parametrize(("given", "used"), [(-1, 0.0), (0.7, 0.5), (0.02, 0.02)])
def test_the_share_of_time_is_kept_in_bounds(given, used):
    assert used == Thresholds(pause_threshold=given).pause_threshold


def test_without_a_share_of_time_looks_are_a_second_apart():
    assert collected(Thresholds(pause_threshold=0)).at == 2.0
