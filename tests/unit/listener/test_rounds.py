from __future__ import annotations

from collections import Counter

from holdfast.listener.descriptors import ConnectionBound
from holdfast.listener.rounds import LEAST, LONG_S, SHORT_S, Rounds
from hypothesis import given
from hypothesis import strategies as st

STEPS = st.lists(st.tuples(st.sampled_from(["come", "come", "come", "leave", "begin"]), st.integers(0, 5)), max_size=80)


@given(STEPS, st.integers(1, 4), st.integers(1, 12))
def test_a_round_keeps_its_bounds_and_nobody_who_waits_is_lost_or_served_twice(steps, per_peer, total):
    rounds = Rounds(ConnectionBound(max(total, per_peer), per_peer))
    passed: Counter[int] = Counter()
    waiting: list[tuple[int, int]] = []  # peer, name
    for name, (step, peer) in enumerate(steps):
        if step == "come":
            if rounds.take(str(peer)):
                passed[peer] += 1
            else:
                rounds.wait(str(peer), name)
                waiting.append((peer, name))
        elif step == "leave" and waiting:
            gone = waiting.pop(peer % len(waiting))
            rounds.forget(str(gone[0]), gone[1])
            rounds.forget(str(gone[0]), gone[1])  # twice is once
        elif step == "begin":
            passed.clear()
            for served in rounds.begin(0):
                entry = next(one for one in waiting if one[1] == served)
                assert entry == next(one for one in waiting if one[0] == entry[0])  # of one peer, in their order
                waiting.remove(entry)
                passed[entry[0]] += 1
            full = passed.total() >= max(per_peer, max(total, per_peer) // 2)
            assert full or all(passed[of] == per_peer for of, _ in waiting)
        assert max(passed.values(), default=0) <= per_peer
        assert passed.total() <= max(per_peer, max(total, per_peer) // 2)
        assert bool(rounds) == bool(waiting)


def test_a_peer_with_few_has_its_turn_before_the_rest_of_one_with_many():
    rounds = Rounds(ConnectionBound(8, 4))
    assert [rounds.take("many") for _ in range(4)] == [True] * 4
    for number in range(100):
        rounds.wait("many", f"many {number}")
    rounds.wait("few", "few")
    assert rounds.begin(0) == ["many 0", "few", "many 1", "many 2"]
    rounds.wait("few", "few again")
    assert rounds.begin(0)[:2] == ["many 3", "few again"]


def test_in_every_round_other_peers_are_served_first_where_a_round_is_full():
    rounds = Rounds(ConnectionBound(4, 1))
    for peer in "abcd":
        rounds.wait(peer, f"{peer}1")
        rounds.wait(peer, f"{peer}2")
    assert [rounds.begin(0) for _ in range(4)] == [["a1", "b1"], ["c1", "d1"], ["a2", "b2"], ["c2", "d2"]]


def passed_on(rounds, peer):
    number = 0
    while rounds.take(peer):
        number += 1
    return number


def test_a_server_that_is_slow_gets_smaller_rounds_and_larger_ones_again_when_it_is_fast():
    rounds = Rounds(ConnectionBound(64, 16))
    sizes = [passed_on(rounds, "one")]
    for took_s in (1, 2, 3, LONG_S * 2, 5, 5, LONG_S, SHORT_S, 0, 0, 0, 0, 0):
        rounds.begin(took_s)
        sizes.append(passed_on(rounds, "one"))
    assert sizes == [16, 8, 4, 2, 1, 1, 1, 1, 1, 2, 4, 8, 16, 16]


def test_the_smallest_round_has_room_for_several_peers():
    rounds = Rounds(ConnectionBound(64, 16))
    for _ in range(8):
        rounds.begin(60)
    assert [rounds.take(peer) for peer in "abcdef"] == [True] * LEAST + [False] * 2


def test_a_peer_that_is_barred_waits_and_others_pass():
    barred = {"one"}
    rounds = Rounds(ConnectionBound(8, 4), barred.__contains__)
    assert (rounds.take("one"), rounds.take("other")) == (False, True)
    rounds.wait("one", "first")
    assert rounds.begin(0) == []
    barred.clear()
    assert rounds.begin(0) == ["first"]
    assert not rounds
