import pytest
from holdfast.pods import nri
from holdfast.pods.cgroup_path import group_of, pod_of_path
from holdfast.pods.nri import EVENT_MASK, RetryGuard, SyncBuffer
from holdfast.pods.record import ContainerRecord, PodRecord

C = ContainerRecord("c1", "s1", "app")
KEY = ("uid", "app")


def test_only_events_that_every_runtime_knows_are_asked_for():
    assert EVENT_MASK == 0x64F
    assert EVENT_MASK < 1 << 11


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
    pods = [PodRecord(str(at), "u", "n", "p") for at in range(2)]
    for _ in range(1000):
        gathering.add((), ())
    gathering.add(pods, [C])
    gathering.add(pods, [C])
    assert (len(gathering.pods), len(gathering.containers), gathering.left_out) == (2, 1, 3)
