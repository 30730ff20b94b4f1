import pytest
from holdfast.node.engine import rate_limit as module
from holdfast.node.engine.rate_limit import MOST_EVENTS, MOST_STARTS, STARTS_WINDOW_S, WINDOW_S, of_processes, of_starts


@pytest.fixture
def rate_limit():
    return of_processes()


def test_events_at_the_usual_rate_are_served(rate_limit):
    for second in range(60):
        for _ in range(MOST_EVENTS):
            assert rate_limit.allows(7, 100 + second * WINDOW_S)
    assert (rate_limit.skipped, rate_limit.slowed, rate_limit.noisy) == (0, 0, {})


def test_who_makes_more_waits_for_the_rescan_and_nobody_else_does(rate_limit):
    served = sum(rate_limit.allows(7, 100 + at / 1000) for at in range(30_000))
    assert served == MOST_EVENTS
    assert (rate_limit.skipped, rate_limit.slowed, rate_limit.noisy) == (30_000 - MOST_EVENTS, 1, {7: None})
    assert rate_limit.allows(8, 130)
    rate_limit.begin_anew()
    assert rate_limit.allows(7, 131)


def test_what_is_counted_is_forgotten_with_the_window(rate_limit):
    for pid in range(100_000):
        rate_limit.allows(pid, 100 + pid / 1000)
    assert len(rate_limit._counts) <= 1000


def test_one_pod_whose_containers_start_all_the_time_waits_for_the_rescan_and_no_other_does(caplog):
    starts = of_starts()
    assert sum(starts.allows("noisy", 100.0) for _ in range(1000)) == MOST_STARTS
    assert starts.allows("other", 100.0)
    assert not starts.allows("noisy", 100.0 + 10 * STARTS_WINDOW_S)
    starts.begin_anew()
    assert starts.allows("noisy", 101.0 + 10 * STARTS_WINDOW_S)
    (line,) = caplog.records
    assert (line.message, dict(line.fields)["uid"]) == (
        "pod makes too many events; only rescans examine it", "noisy",
    )  # fmt: skip


def test_those_that_are_noisy_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_NOISY", 3)
    starts = of_starts()
    for number in range(10):
        for _ in range(MOST_STARTS + 1):
            starts.allows(f"p{number}", 100.0)
    assert len(starts.noisy) <= 3
