"""Kills on their way to Events: which pod is known, and which pod may have an Event."""

import time

import pytest
from holdfast.node.model.memory_domain import Kill
from holdfast.plugins.node.placement import kill_events
from holdfast.plugins.node.placement.kill_events import MOST_WAITING, PAST_S, KillEvents
from holdfast.pods.directory import Directory
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord
from msgspec.structs import replace

UID, ID = "1d5fb235-0000-4000-8000-00000000000a", "c" * 64
GROUP = f"/kubepods/burstable/pod{UID}/{ID}"
KILL = Kill(0, 7, "x", 0, GROUP, GROUP, 1, 0, pod=UID, container_id=ID, number=3)
POD = PodRecord("s" * 64, UID, "db", "pg-0")
CONTAINER = ContainerRecord(ID, "s" * 64, "app", ContainerState.RUNNING, cgroups_path=GROUP)
NAMED = {"pod_namespace": "db", "pod_name": "pg-0", "container": "app"}


@pytest.fixture
def kills():
    return []


@pytest.fixture
async def events(kills):
    events = KillEvents(Directory(), kills.append)
    with events.following(()):
        yield events


def kill(**given):
    return replace(KILL, at_ns=time.time_ns(), **given)


def unknown(events):
    ((_, value),) = events.unknown.values()
    return value


async def test_a_kill_whose_pod_the_engine_knew_goes_on_at_once(events, kills):
    known = kill(pod_confirmed=True, **NAMED)
    events.kill(known)
    assert kills == [known]


async def test_a_kill_waits_until_the_runtime_told_of_its_pod_and_container(events, kills):
    events.kill(kill())
    events._directory.put_pod(POD)
    assert kills == [], "the runtime has not named the group yet"
    events._directory.put_container(CONTAINER)
    assert [(one.pod_namespace, one.pod_name, one.container) for one in kills] == [("db", "pg-0", "app")]
    events._directory.put_pod(replace(POD, labels={"a": "b"}))
    assert len(kills) == 1, "once"


async def test_a_group_that_the_runtime_does_not_name_is_nobodys(events, kills):
    events._directory.put_pod(POD)
    events._directory.put_container(CONTAINER)
    elsewhere = f"/kubepods/burstable/pod{'0' * 32}/{'d' * 64}/kubepods/pod{UID}/{ID}"
    events.kill(kill(group=elsewhere))
    events._directory.put_pod(replace(POD, labels={"a": "b"}))
    assert kills == []


async def test_a_group_that_only_root_makes_needs_the_pods_name_alone(events, kills):
    """The container ended with its first process, and the runtime forgot it."""
    events.kill(kill(pod_confirmed=True))
    events._directory.put_pod(POD)
    assert [one.pod_name for one in kills] == ["pg-0"]


async def test_a_container_in_a_group_that_names_no_pod_is_found_by_the_runtimes_word(events, kills):
    group = f"/k8s.io/{ID}"
    events.kill(kill(group=group, pod="", container_id=""))
    events._directory.put_pod(POD)
    events._directory.put_container(replace(CONTAINER, cgroups_path=group))
    events._directory.put_pod(replace(POD, labels={"a": "b"}))
    assert [(one.pod, one.pod_name) for one in kills] == [(UID, "pg-0")]


@pytest.mark.parametrize("other", [{"number": -1}, {"pod": "", "group": "/system.slice/cron.service"}])
async def test_a_kill_in_no_pod_does_not_wait(events, kills, other):
    events.kill(kill(**other))
    assert not events._waiting
    assert unknown(events) == 0


async def test_an_old_kill_is_left_alone(events, kills):
    events.kill(replace(kill(pod_confirmed=True, **NAMED), at_ns=time.time_ns() - int((PAST_S + 60) * 1e9)))
    assert kills == []


async def test_those_that_wait_are_bounded_and_what_is_given_up_is_counted(events, kills):
    for number in range(MOST_WAITING + 3):
        events.kill(kill(number=number))
    assert len(events._waiting) == MOST_WAITING
    assert unknown(events) == 3


async def test_groups_that_look_like_a_pods_take_no_place_of_those_that_only_root_makes(events, kills):
    events.kill(kill(pod_confirmed=True))
    for number in range(MOST_WAITING + 3):
        events.kill(kill(number=10 + number))
    assert (len(events._waiting), unknown(events)) == (MOST_WAITING, 4)
    events._directory.put_pod(POD)
    assert [one.number for one in kills] == [KILL.number]


async def test_a_kill_whose_pod_nobody_tells_is_given_up(kills, monkeypatch):
    monkeypatch.setattr(kill_events, "WAITS_S", 0.0)
    events = KillEvents(Directory(), kills.append)
    with events.following([kill()]):
        events._expire()
        assert (unknown(events), len(events._waiting)) == (1, 0)


async def test_kills_that_were_not_told_before_are_told_at_the_start(kills):
    events = KillEvents(Directory(), kills.append)
    known = kill(pod_confirmed=True, **NAMED)
    with events.following([known]):
        assert kills == [known]
