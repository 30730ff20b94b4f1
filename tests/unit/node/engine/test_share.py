import pytest
from holdfast.node.engine.share import Share


class Clock:
    def __init__(self):
        self.now = self.spent = 0.0
        self.rests = []

    def rest(self, seconds):
        self.rests.append(seconds)
        self.now += seconds

    def work(self, seconds):
        self.now += seconds
        self.spent += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def share(clock):
    return Share(4, 0.05, now=lambda: clock.now, spent=lambda: clock.spent, rest=clock.rest)


def test_work_within_its_part_of_a_window_never_rests(share, clock):
    for _ in range(100):
        with share:
            clock.work(0.02)
        clock.now += 0.1
    assert clock.rests == []


def test_work_without_an_end_gets_its_part_of_the_time_and_never_rests_for_long(share, clock):
    while clock.now < 100:
        with share:
            clock.work(0.01)
    assert 25 < clock.spent < 45  # a quarter of each second is at once, and a quarter of the rest
    assert max(clock.rests) == pytest.approx(0.03)
    with share:
        clock.work(3)
    assert clock.rests[-1] == 0.05
