import pytest
from holdfast.node.engine.cpu_share import CpuShare


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
    return CpuShare(4, 0.25, 0.05, now=lambda: clock.now, spent=lambda: clock.spent, rest=clock.rest)


def test_work_within_its_part_never_rests(share, clock):
    for _ in range(100):
        with share:
            clock.work(0.02)
            assert not share.is_over
        clock.now += 0.07
    assert clock.rests == []


def test_what_was_saved_is_taken_at_once(share, clock):
    for _ in range(12):
        with share:
            clock.work(0.02)
    assert clock.rests == []


@pytest.mark.parametrize("piece_s", [0.001, 0.01, 0.0125])
def test_work_without_an_end_gets_its_part_in_the_long_run_and_never_rests_for_long(share, clock, piece_s):
    while clock.now < 100:
        with share:
            clock.work(piece_s)
    assert clock.spent == pytest.approx(100 / 4, rel=0.05)
    assert max(clock.rests) <= 0.05


def test_a_long_piece_sees_when_it_has_taken_its_part(share, clock):
    with share:
        clock.work(0.2)
        assert not share.is_over
        clock.work(0.3)
        assert share.is_over
    assert clock.rests == [0.05]
    with share:
        assert share.is_over, "what was owed is owed still"
