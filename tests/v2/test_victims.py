"""Real OOM kills on cgroup v2 with every value: the kernel kills the process that the arithmetic named."""

import pytest

from bench import victims

pytestmark = [pytest.mark.v2, pytest.mark.timeout(600)]


@pytest.mark.parametrize("kind", ["mixed", victims.NEGATIVE])
def test_the_kernel_kills_whom_we_named(kind):
    result = victims.run(kind, trials=4, seed=3)
    assert result.verdicts["miss"] == 0, result.note
    assert result.verdicts["hit"] + result.verdicts["two"] + result.verdicts["tie"] == result.trials


def test_a_group_is_killed_whole_but_for_who_has_minus_1000(hierarchy):
    members = [victims.Member(6144, 0), victims.Member(2048, 500), victims.Member(1024, -1000)]
    outcome = victims.trial(members, 64, hierarchy, group_kill=True)
    ranking = outcome.ranking
    assert ranking.group == ranking.domain.path
    assert sorted(outcome.killed) == sorted(process.pid for process in ranking.group_members)
    assert len(ranking.group_members) == 3, "the two, and what filled the group"
    (spared,) = ranking.spared
    assert spared.pid not in outcome.killed
