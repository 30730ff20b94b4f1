import pytest
from holdfast.node.engine.pace import MOST_EVENTS, WINDOW_S, Pace


@pytest.fixture
def pace():
    return Pace()


def test_events_at_the_usual_rate_are_served(pace):
    for second in range(60):
        for _ in range(MOST_EVENTS):
            assert pace.allows(7, 100 + second * WINDOW_S)
    assert (pace.skipped, pace.slowed, pace.noisy) == (0, 0, {})


def test_who_makes_more_waits_for_the_rescan_and_nobody_else_does(pace):
    served = sum(pace.allows(7, 100 + at / 1000) for at in range(30_000))
    assert served == MOST_EVENTS
    assert (pace.skipped, pace.slowed, pace.noisy) == (30_000 - MOST_EVENTS, 1, {7: None})
    assert pace.allows(8, 130)
    pace.begin_anew()
    assert pace.allows(7, 131)


def test_what_is_counted_is_forgotten_with_the_window(pace):
    for pid in range(100_000):
        pace.allows(pid, 100 + pid / 1000)
    assert len(pace._counts) <= 1000
