from holdfast.node.engine.cost_limit import MANY, MOST, PARTS, CostLimit


def test_a_few_looks_are_followed_by_the_next_at_once_however_long_they_took():
    limit = CostLimit()
    limit.note(7, MANY - 1, 0.5, 100.0)
    assert (limit.allows(7, 100.0), limit.skipped) == (True, 0)


def test_many_looks_are_followed_by_a_rest_of_its_process_alone():
    limit = CostLimit()
    limit.note(7, MANY, 0.5, 100.0)
    assert [limit.allows(7, 100 + 0.5 * PARTS * part) for part in (0, 0.9, 1)] == [False, False, True]
    assert (limit.allows(8, 100.0), limit.skipped) == (True, 2)


def test_after_a_rescan_nobody_rests():
    limit = CostLimit()
    limit.note(7, MANY, 0.5, 100.0)
    limit.begin_anew()
    assert limit.allows(7, 100.0)


def test_no_more_are_remembered_than_so_many():
    limit = CostLimit()
    for pid in range(3 * MOST):
        limit.note(pid, MANY, 0.5, 100.0)
    assert len(limit._rests) <= MOST
    assert len(limit._told) <= MOST
