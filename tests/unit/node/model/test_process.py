"""Changes that a process may have made to its own value."""

from __future__ import annotations

import pytest
from holdfast.pods.cgroup_path import PodRef

from tests.fakes.placement import process

UNIT = "/system.slice/cron.service"
CONTAINER = f"/system.slice/docker-{'a' * 64}.scope"
POD = PodRef("u", "guaranteed", "c", group="/kubepods/podu/c")


@pytest.mark.parametrize(
    ("given", "may"),
    [
        ({}, True),
        ({"oom_score_adj": -1}, True),
        ({"oom_score_adj": -900}, False),
        ({"oom_score_adj": 0}, False),
        ({"uids": (0, 0, 0)}, False),
        ({"uids": (1001, 0, 0)}, True),
        ({"uids": ()}, False),
        ({"cgroups": {}}, False),
        ({"cgroups": {"": "/user.slice/user-1001.slice/session-2.scope"}}, True),
        ({"cgroups": {"": CONTAINER}}, False),
        ({"cgroups": {"": POD.group}, "pod": POD}, False),
    ],
)
def test_a_value_between_the_inherited_one_and_the_base_is_raised_unless_root_or_a_runtime_gave_it(given, may):
    some = process(**{"uid": 1001, "oom_score_adj": -899, "cgroups": {"": UNIT}, **given})
    assert some.may_have_raised(-900, 0, UNIT) is may


@pytest.mark.parametrize("group", [CONTAINER, POD.group])
def test_in_the_container_of_the_one_that_had_it_first_no_runtime_gave_it(group):
    some = process(uid=1001, oom_score_adj=-899, cgroups={"": group}, pod=POD if group == POD.group else None)
    assert some.may_have_raised(-900, 0, group)
