from __future__ import annotations

import pytest
from holdfast.listener.shares import MOST_PEERS, Shares

BURST, RATE = 256, 4.0


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_peer_may_take_a_burst_and_then_as_much_as_time_allows():
    clock = Clock()
    calls = Shares(BURST, RATE, clock)
    calls.add("one", BURST - 1)
    assert not calls.exceeded("one")
    calls.add("one", 1)
    assert (calls.exceeded("one"), calls.exceeded("other")) == (True, False)
    clock.now += 1 / RATE
    calls.add("one", 0)
    assert not calls.exceeded("one")
    calls.add("one", 10 * BURST)
    clock.now += 9 * BURST / RATE
    assert calls.exceeded("one")
    clock.now += BURST
    assert not calls.exceeded("one")


def test_of_more_peers_than_it_keeps_it_forgets_the_one_that_took_nothing_for_the_longest_time():
    calls = Shares(BURST, RATE, Clock())
    for number in range(MOST_PEERS):
        calls.add(f"{number}", BURST)
    calls.add("0", 1)
    calls.add("new", BURST)
    assert [calls.exceeded(peer) for peer in ("0", "1", "2", "new")] == [True, False, True, True]


@pytest.mark.parametrize("beyond", [0, 1, 100])
def test_who_waits_as_long_as_it_says_may_take_more_and_who_waits_less_may_not(beyond):
    clock = Clock()
    shares = Shares(BURST, RATE, clock)
    assert shares.wait_s("one") == 0
    shares.add("one", BURST + beyond)
    wait_s = shares.wait_s("one")
    assert wait_s > 0
    clock.now = wait_s - 1 / RATE
    assert shares.wait_s("one") > 0
    clock.now = wait_s
    assert shares.wait_s("one") == 0
