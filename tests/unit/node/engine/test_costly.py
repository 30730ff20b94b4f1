from holdfast.node.engine.costly import MANY, MOST, PARTS, Costly


def test_a_few_looks_are_followed_by_the_next_at_once_however_long_they_took():
    costly = Costly()
    costly.note(7, MANY - 1, 0.5, 100.0)
    assert (costly.allows(7, 100.0), costly.skipped) == (True, 0)


def test_many_looks_are_followed_by_a_rest_of_its_process_alone():
    costly = Costly()
    costly.note(7, MANY, 0.5, 100.0)
    assert [costly.allows(7, 100 + 0.5 * PARTS * part) for part in (0, 0.9, 1)] == [False, False, True]
    assert (costly.allows(8, 100.0), costly.skipped) == (True, 2)


def test_after_a_rescan_nobody_rests():
    costly = Costly()
    costly.note(7, MANY, 0.5, 100.0)
    costly.begin_anew()
    assert costly.allows(7, 100.0)


def test_no_more_are_remembered_than_so_many():
    costly = Costly()
    for pid in range(3 * MOST):
        costly.note(pid, MANY, 0.5, 100.0)
    assert len(costly._rests) <= MOST
    assert len(costly._told) <= MOST
