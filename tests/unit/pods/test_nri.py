import pytest
from holdfast.pods import nri
from holdfast.pods.cgroup_path import group_of, pod_of_path
from holdfast.pods.nri import (
    ANNOTATION,
    EVENT_MASK,
    Adjustment,
    RetryGuard,
    RuleValues,
    RuntimeContainer,
    Sandbox,
    SyncBuffer,
    adjustment_of,
)
from msgspec.structs import replace

C = RuntimeContainer("c1", "s1", "app", oom_score_adj=985, cgroups_path="/kubepods/burstable/podU/c1")
KEY = ("uid", "app")


def test_only_events_that_every_runtime_knows_are_asked_for():
    assert EVENT_MASK == 0x64F
    assert EVENT_MASK < 1 << 11


@pytest.mark.parametrize(
    ("wished", "answered"),
    [(-500, -500), (0, 0), (1000, 1000), (5000, 1000), (-5000, -1000), (985, None), (None, None)],
)
def test_an_adjustment_is_in_range_and_says_only_what_is_not_so(wished, answered):
    assert adjustment_of(RuleValues("r", wished), C).oom_score_adj == answered


def test_a_value_the_runtime_may_not_write_is_not_asked_of_it():
    assert adjustment_of(RuleValues("r", -1), C, lowest=0) == Adjustment()
    assert adjustment_of(RuleValues("r", 0), C, lowest=0).oom_score_adj == 0
    assert adjustment_of(RuleValues("r", -1, unified={"memory.oom.group": "0"}), C, lowest=0).unified == {
        "memory.oom.group": "0"
    }


def test_zero_for_a_container_that_has_no_value_is_something_to_say():
    made = adjustment_of(RuleValues("r", 0), replace(C, oom_score_adj=None))
    assert made
    assert made.annotations == {ANNOTATION: "rule=r oom_score_adj=0 asked=unset"}


def test_the_annotation_tells_what_was_given_and_what_was_asked_for():
    made = adjustment_of(RuleValues("pg", -500, "/holdfast/db", {"memory.oom.group": "0"}), C)
    assert made == Adjustment(
        -500,
        "/holdfast/db/c1",
        {"memory.oom.group": "0"},
        {ANNOTATION: "rule=pg oom_score_adj=-500 asked=985 cgroup=/holdfast/db/c1 memory.oom.group=0"},
    )


def test_nothing_to_give_is_no_annotation_either():
    made = adjustment_of(RuleValues("r", 985), C)
    assert not made
    assert made.annotations == {}


def test_the_systemd_driver_knows_slices_so_a_group_is_left_to_the_engine():
    systemd = replace(C, cgroups_path="kubepods-podU.slice:cri-containerd:c1")
    assert adjustment_of(RuleValues("r", group="/holdfast/db"), systemd) == Adjustment()


UID = "0e2b3c4d_0000_1111_2222_333344445555"
ID = "c" * 64


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/kubepods/burstable/podU/ID", "/kubepods/burstable/podU/ID"),
        ("kubepods.slice:cri-containerd:ID", "/kubepods.slice/cri-containerd-ID.scope"),
        ("a-b.slice:crio:ID", "/a.slice/a-b.slice/crio-ID.scope"),
        ("a.slice::ID", "/a.slice/ID.scope"),
        ("", ""),
        ("relative/path", ""),
        ("no:slice:ID", ""),
        ("a.slice:only", ""),
        ("a.slice:p:", ""),
    ],
)
def test_where_a_containers_group_will_be(path, group):
    assert group_of(path) == group


def test_the_group_of_a_kubelets_pod_is_read_as_that_pods():
    pod = pod_of_path(group_of(f"kubepods-burstable-pod{UID}.slice:cri-containerd:{ID}"))
    assert (pod.uid, pod.qos, pod.container_id) == (UID.replace("_", "-"), "burstable", ID)


def test_a_container_that_started_is_adjusted_again_the_next_time():
    retry_guard = RetryGuard()
    for _ in range(3):
        assert retry_guard.allows(KEY)
        assert not retry_guard.started(KEY)


def test_one_that_did_not_start_with_us_and_did_without_is_left_alone_until_its_pod_goes():
    retry_guard = RetryGuard()
    assert retry_guard.allows(KEY)
    assert not retry_guard.allows(KEY)
    assert retry_guard.started(KEY)
    assert not retry_guard.allows(KEY)
    assert not retry_guard.started(KEY)
    assert not retry_guard.allows(KEY)
    retry_guard.forget("uid")
    assert retry_guard.allows(KEY)


def test_one_that_fails_without_us_as_well_is_adjusted_again():
    retry_guard = RetryGuard()
    assert [retry_guard.allows(KEY) for _ in range(4)] == [True, False, True, False]


def test_a_runtime_that_was_away_is_no_proof_against_a_value_but_what_is_left_alone_stays_so():
    retry_guard = RetryGuard()
    alone, gone = ("uid", "alone"), ("gone", "alone")
    for key in (alone, gone):
        retry_guard.allows(key), retry_guard.allows(key), retry_guard.started(key)
    retry_guard.allows(KEY)
    retry_guard.begin_anew({"uid"})
    assert [retry_guard.allows(key) for key in (KEY, alone, gone)] == [True, False, True]


def test_others_are_not_judged_by_it():
    retry_guard = RetryGuard()
    assert retry_guard.allows(KEY)
    assert retry_guard.allows(("uid", "sidecar"))
    assert retry_guard.allows(("other", "app"))
    retry_guard.forget("other")
    assert not retry_guard.allows(KEY)


def test_what_is_watched_is_bounded_and_the_oldest_goes(monkeypatch):
    monkeypatch.setattr(nri, "MOST_WATCHED", 2)
    retry_guard = RetryGuard()
    for name in ("a", "b", "c"):
        retry_guard.allows(("uid", name))
    assert retry_guard.allows(("uid", "a"))
    assert not retry_guard.allows(("uid", "c"))


def test_a_synchronisation_holds_no_more_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(nri, "MOST", 3)
    gathering = SyncBuffer()
    pods = [Sandbox(str(at), "u", "n", "p") for at in range(2)]
    for _ in range(1000):
        gathering.add((), ())
    gathering.add(pods, [C])
    gathering.add(pods, [C])
    assert (len(gathering.pods), len(gathering.containers), gathering.left_out) == (2, 1, 3)
