from __future__ import annotations

import pytest
from holdfast.pods import directory as module
from holdfast.pods.directory import PAUSE, Directory
from holdfast.pods.metrics import PodMetrics
from holdfast.pods.record import MOST_VALUES, MOST_VALUES_BYTES, ContainerRecord, ContainerState, PodRecord, kept
from msgspec.structs import replace

UID = "3f2c1a90-0b7e-4c52-9d5e-8a1f6b7c2d3e"
SANDBOX, APP, OTHER = "5" * 64, "a" * 64, "b" * 64
POD_GROUP = f"/kubepods/burstable/pod{UID}"


def pod(**given) -> PodRecord:
    facts = {"labels": {"app": "pg"}, "annotations": {"team": "dba"}, "created_at_ns": 5, **given}
    return PodRecord(**{"sandbox_id": SANDBOX, "uid": UID, "namespace": "db", "name": "pg-0", **facts})


def container(of: str = APP, **given) -> ContainerRecord:
    return ContainerRecord(of, SANDBOX, **{"name": "postgres", "state": ContainerState.RUNNING, **given})


def at(leaf: str) -> dict[str, str]:
    """As v1 reports it: several hierarchies, the first of which the kubelet does not use."""
    return {"name=systemd": "/system.slice/containerd.service", "memory": f"{POD_GROUP}/{leaf}".rstrip("/")}


@pytest.fixture
def told():
    """A directory, and what its listeners received: changed groups, and queries for unknown containers."""

    class Told(Directory):
        def __init__(self) -> None:
            super().__init__()
            self.changed: list[frozenset[str]] = []
            self.asked_for: list[str] = []
            self.on_change(self.changed.append)
            self.on_miss(self.asked_for.append)

    return Told()


def test_a_process_is_known_by_its_containers_id(told):
    told.put_pod(pod())
    told.put_container(container(pid=42, start_ticks=7, oom_score_adj=985))
    found = told.pod_of(at(APP))
    assert (found.namespace, found.name, found.container, found.qos) == ("db", "pg-0", "postgres", "burstable")
    assert (dict(found.labels), dict(found.annotations)) == ({"app": "pg"}, {"team": "dba"})
    assert (found.main, found.oom_score_adj, found.uid) == ((42, 7), 985, UID)
    assert (told.changed, told.asked_for) == ([], [])


def test_the_same_answer_is_given_again_without_being_made_again(told):
    told.put_pod(pod())
    told.put_container(container())
    assert told.pod_of(at(APP)) is told.pod_of(at(APP))


def test_a_sandboxs_own_container_is_the_pause(told):
    told.put_pod(pod())
    assert told.pod_of(at(SANDBOX)).container == PAUSE


def test_a_process_in_the_pods_own_group_is_in_the_pod_and_in_no_container(told):
    told.put_pod(pod())
    found = told.pod_of(at(""))
    assert (found.name, found.container, found.container_id) == ("pg-0", "", "")


def test_who_asked_in_vain_is_told_when_the_answer_comes(told):
    found = told.pod_of(at(APP))
    assert (found.uid, found.name, found.container_id) == (UID, "", APP)
    assert told.asked_for == [APP]
    told.put_container(container())
    assert told.changed == []  # the container of an unknown pod says nothing yet
    told.put_pod(pod())
    assert told.changed == [{f"{POD_GROUP}/{APP}"}]
    assert told.pod_of(at(APP)).container == "postgres"


def test_a_new_container_of_a_known_pod_is_in_that_pod_before_anybody_told_of_it(told):
    told.put_pod(pod())
    found = told.pod_of(at(APP))
    assert (found.name, found.container, told.asked_for) == ("pg-0", "", [APP])
    told.put_container(container())
    assert (told.pod_of(at(APP)).container, told.changed) == ("postgres", [{f"{POD_GROUP}/{APP}"}])


def test_a_question_asked_in_vain_over_and_over_is_told_once_in_a_while(told, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(told, "_now", lambda: now[0])
    for _ in range(5):
        told.pod_of(at(APP))
    assert told.asked_for == [APP]
    now[0] += module.ASK_AGAIN_S
    told.pod_of(at(APP))
    assert told.asked_for == [APP, APP]


def test_nobody_is_told_of_what_nobody_asked_for(told):
    told.put_pod(pod())
    told.put_container(container())
    told.put_pod(pod(labels={"app": "other"}))
    assert told.changed == []


def test_a_running_container_in_a_group_that_names_no_pod_is_told_once(told):
    told.put_pod(pod())
    elsewhere = f"/ours/{APP}"
    assert told.pod_of({"": elsewhere}) is None
    told.put_container(container(state=ContainerState.CREATED, cgroups_path=elsewhere))
    assert told.changed == [], "created: it has no process yet"
    for _ in range(2):
        told.put_container(container(pid=42, start_ticks=7, cgroups_path=elsewhere))
    assert told.changed == [{elsewhere}]
    assert told.pod_of({"": elsewhere}).container == "postgres"
    told.put_container(container(OTHER, pid=43, start_ticks=7, cgroups_path=f"{POD_GROUP}/{OTHER}"))
    assert told.changed == [{elsewhere}], "who asked for this one is remembered"


def test_it_is_told_once_too_where_the_runtime_tells_its_group_and_its_pid_later_or_never(told):
    told.put_pod(pod())
    elsewhere = f"/ours/{APP}"
    assert told.pod_of({"": elsewhere}) is None
    told.put_container(container(detailed=False))
    assert told.changed == [], "a list does not say where it is"
    told.put_container(container(cgroups_path=elsewhere))
    assert told.changed == [{elsewhere}]
    told.put_container(container(pid=42, start_ticks=7, cgroups_path=elsewhere))
    assert told.changed == [{elsewhere}]
    told.put_container(container(pid=43, start_ticks=9, cgroups_path=elsewhere))
    assert told.changed == [{elsewhere}] * 2, "it was started anew"


def test_and_told_when_its_pod_comes_after_it(told):
    elsewhere = f"/ours/{APP}"
    told.put_container(container(pid=42, start_ticks=7, cgroups_path=elsewhere))
    assert told.changed == [], "whose it is nobody knows"
    told.put_pod(pod())
    assert told.changed == [{elsewhere}]
    told.put_pod(pod(labels={"app": "other"}))
    assert told.changed == [{elsewhere}], "nobody asked, and its pod was told"


def test_changed_labels_are_told_for_every_container_that_was_asked_for(told):
    told.put_pod(pod())
    told.put_container(container())
    told.put_container(container(OTHER, name="side"))
    told.pod_of(at(APP)), told.pod_of(at(OTHER))
    told.put_pod(pod(labels={"app": "new"}))
    assert told.changed == [{f"{POD_GROUP}/{APP}", f"{POD_GROUP}/{OTHER}"}]
    assert dict(told.pod_of(at(OTHER)).labels) == {"app": "new"}


def test_the_same_again_is_no_change(told):
    told.put_pod(pod())
    told.put_container(container(pid=42, start_ticks=7))
    told.pod_of(at(APP))
    told.put_pod(pod())
    told.put_container(container())
    assert (told.changed, told.pod_of(at(APP)).main) == ([], (42, 7))


def test_what_was_known_stays_when_less_is_told(told):
    told.put_container(container(pid=42, start_ticks=7, oom_score_adj=0, memory_limit=5, cgroups_path="/x"))
    told.put_container(container(state=ContainerState.UNKNOWN))
    assert told.container(APP) == container(pid=42, start_ticks=7, oom_score_adj=0, memory_limit=5, cgroups_path="/x")


def test_a_value_of_zero_is_a_value(told):
    told.put_container(container(oom_score_adj=985))
    told.put_container(container(oom_score_adj=0))
    assert told.container(APP).oom_score_adj == 0


def test_another_first_process_has_nothing_of_the_one_before(told):
    told.put_container(container(pid=42, start_ticks=7, oom_score_adj=985))
    told.put_container(container(pid=43))
    assert told.container(APP) == container(pid=43)


def test_a_container_that_stopped_is_forgotten(told):
    told.put_pod(pod())
    told.put_container(container())
    told.pod_of(at(APP))
    told.put_container(container(state=ContainerState.STOPPED))
    assert (told.container(APP), told.pod_of(at(APP)).container) == (None, "")


def test_a_pod_that_is_no_more_takes_its_containers_with_it(told):
    told.put_pod(pod())
    told.put_container(container())
    told.pod_of(at(APP))
    told.remove(SANDBOX)
    assert (told.sizes, told.pod_of(at(APP)).name, told.pod_of(at("")).name) == ((0, 0), "", "")


def test_a_sandbox_made_anew_is_the_pods_sandbox_and_the_old_one_may_go(told):
    told.put_pod(pod())
    told.put_pod(pod(sandbox_id="6" * 64, labels={"v": "2"}, created_at_ns=6))
    told.put_pod(pod(created_at_ns=5, annotations={}))
    assert dict(told.pod_of(at("")).labels) == {"v": "2"}
    told.remove(SANDBOX)
    assert dict(told.pod_of(at("")).labels) == {"v": "2"}


def test_a_whole_list_replaces_what_is_not_in_it(told):
    told.put_pod(pod())
    told.put_container(container())
    told.put_container(container(OTHER))
    told.replace_all([pod()], [container(), container(OTHER, state=ContainerState.STOPPED)], told.mark())
    assert (told.container(APP) is not None, told.container(OTHER)) == (True, None)
    told.replace_all([], [], told.mark())
    assert told.sizes == (0, 0)


def test_what_came_while_the_list_was_under_way_stays(told):
    mark = told.mark()
    told.put_pod(pod())
    told.put_container(container())
    told.replace_all([], [], mark)
    assert told.sizes == (1, 1)


def test_a_container_in_a_group_of_another_name_is_known_where_the_runtime_names_the_group(told):
    told.put_pod(pod())
    told.put_container(container(cgroups_path=f"/k8s.io/{APP}"))
    found = told.pod_of({"": f"/k8s.io/{APP}"})
    assert (found.name, found.container, found.uid, found.qos) == ("pg-0", "postgres", UID, "")
    assert found.group_confirmed
    assert told.pod_of({"": f"/user.slice/{APP}"}) is None
    assert told.pod_of({"": f"/docker/{OTHER}"}) is None


def test_a_directory_called_as_a_containers_group_elsewhere_has_nothing_of_its_pod(told):
    told.put_pod(pod())
    told.put_container(container(cgroups_path=f"{POD_GROUP}/{APP}"))
    own = told.pod_of({"": f"{POD_GROUP}/{APP}"})
    forged = told.pod_of({"": f"/user.slice/user-1000.slice/user@1000.service{POD_GROUP}/{APP}"})
    assert (own.namespace, own.group_confirmed) == ("db", True)
    assert (forged.namespace, forged.container, forged.group_confirmed) == ("", "", False)
    assert told.pod_of({"": f"{POD_GROUP}/{APP}"}) == own, "the forged one does not stand in for it either"


def test_a_query_from_a_group_elsewhere_does_not_take_the_place_of_the_containers_own(told):
    forged = f"/user.slice/user-1000.slice/user@1000.service{POD_GROUP}/{APP}"
    told.pod_of({"": forged})
    told.pod_of({"": f"{POD_GROUP}/{APP}"})
    told.put_pod(pod())
    told.put_container(container(cgroups_path=f"{POD_GROUP}/{APP}"))
    assert told.changed == [frozenset({f"{POD_GROUP}/{APP}"})]
    assert told.pod_of({"": f"{POD_GROUP}/{APP}"}).name == "pg-0"


def test_a_group_with_all_of_a_systemd_name_is_its_containers_where_its_first_process_is(told):
    slice_ = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"
    name = f"{slice_}:cri-containerd:{APP}"
    split = f"/kubepods.slice/kubepods-burstable.slice/{slice_}/cri-containerd-{APP}.scope"
    runtimes, users = (
        f"/system.slice/containerd.service/{name}",
        f"/user.slice/user-1000.slice/user@1000.service/{name}",
    )
    told.put_pod(pod())
    told.put_container(container(cgroups_path=name))
    assert told.pod_of({"": split}).group_confirmed
    for forged in (runtimes, users):
        found = told.pod_of({"": forged})
        assert (found.namespace, found.group_confirmed) == ("", False)
    told.put_container(container(cgroups_path=name, pid=42, start_ticks=7, unsplit_group=runtimes))
    assert told.pod_of({"": runtimes}).group_confirmed
    assert (told.pod_of({"": users}).namespace, told.pod_of({"": users}).group_confirmed) == ("", False)


def test_a_group_that_the_runtime_has_not_named_yet_is_not_confirmed(told):
    told.put_pod(pod())
    told.put_container(container())
    assert not told.pod_of(at(APP)).group_confirmed
    told.put_container(container(cgroups_path=f"{POD_GROUP}/{APP}"))
    assert told.pod_of(at(APP)).group_confirmed


def test_more_than_the_bound_is_refused_and_counted(told, monkeypatch):
    monkeypatch.setattr(module, "MOST", 1)
    told.put_pod(pod())
    told.put_container(container())
    assert (told.sizes, told.refused) == ((1, 0), 1)


def test_questions_in_vain_are_bounded_too(told, monkeypatch):
    monkeypatch.setattr(module, "MOST_ASKED", 2)
    for letter in "cdef":
        told.pod_of(at(letter * 64))
    told.put_pod(pod())
    told.put_container(container("c" * 64))
    assert told.changed == []
    told.put_container(container("f" * 64))
    assert told.changed == [{f"{POD_GROUP}/{'f' * 64}"}]


def test_long_values_are_not_kept():
    assert kept({"a": "b", "manifest": "x" * 2000}) == ({"a": "b"}, False)


def test_of_too_many_values_the_shortest_are_kept_and_that_is_said():
    values, cut = kept({**{f"key-{number:04d}": "v" for number in range(5000)}, "a": "b", "long": "x" * 1000})
    assert (len(values), cut, values["a"], "long" in values) == (MOST_VALUES, True, "b", False)


def test_values_that_are_too_long_together_are_cut_too():
    values, cut = kept({f"key-{number:03d}": "x" * 1000 for number in range(100)})
    assert cut
    assert 0 < sum(map(len, values.values())) < MOST_VALUES_BYTES


def test_a_pod_whose_values_were_cut_is_counted(told):
    metrics = PodMetrics(told)
    told.put_pod(pod(cut=True))
    assert metrics.cut.values() == [((), 1)]


def test_an_answer_that_a_removal_has_overtaken_brings_nobody_back(told):
    directory = told
    directory.put_pod(pod())
    directory.put_container(container())
    mark = directory.mark()
    directory.remove(APP)
    directory.put_container(container(), mark)
    assert directory.container(APP) is None
    directory.replace_all([pod()], [container()], mark)
    assert directory.container(APP) is None
    directory.put_container(container(), directory.mark())
    assert directory.container(APP) is not None


def test_a_container_whose_details_cannot_be_known_is_told_of_and_goes_with_a_list_that_is_older(told):
    told.put_pod(pod())
    assert not told.pod_of(at(APP)).container
    told.put_container(container(detailed=False))
    assert not told.pod_of(at(APP)).container
    mark = told.mark()
    told.settle(APP)
    assert told.pod_of(at(APP)).container == "postgres"
    assert told.changed == [{f"{POD_GROUP}/{APP}"}]
    told.replace_all([], [], mark, [SANDBOX])
    assert told.container(APP) is None, "that nothing more is known of it is no word that it is there"
    told.settle(APP)
    assert told.container(APP) is None


class TestStart:
    GROUP = f"/kubepods/burstable/pod{UID}/{APP}"

    @pytest.fixture
    def starts(self, told):
        found = []
        told.on_start(found.append)
        return found

    def test_a_container_that_runs_is_told_once_when_its_group_is_known(self, told, starts):
        told.put_pod(PodRecord("s", UID, "db", "pg-0"))
        told.put_container(ContainerRecord(APP, "s", "app", ContainerState.RUNNING, detailed=False))
        assert starts == [], "a list does not say where it is"
        known = ContainerRecord(APP, "s", "app", ContainerState.RUNNING, cgroups_path=self.GROUP)
        told.put_container(known)
        told.put_container(known)
        told.put_container(replace(known, pid=7, start_ticks=5))
        assert starts == [module.Start(UID, self.GROUP)]

    def test_one_that_was_created_is_told_when_it_starts(self, told, starts):
        created = ContainerRecord(APP, "s", "app", ContainerState.CREATED, cgroups_path=self.GROUP)
        told.put_container(created)
        assert starts == []
        told.put_container(replace(created, state=ContainerState.RUNNING, detailed=False, cgroups_path=""))
        assert starts == [module.Start("s", self.GROUP)]

    def test_one_that_was_started_anew_is_told_again(self, told, starts):
        known = ContainerRecord(APP, "s", "app", ContainerState.RUNNING, pid=7, cgroups_path=self.GROUP)
        told.put_container(known)
        told.put_container(replace(known, pid=8))
        assert [start.pid for start in starts] == [7, 8]

    def test_a_list_tells_as_well_and_a_listener_that_left_is_not_told(self, told):
        found = []
        end = told.on_start(found.append)
        known = ContainerRecord(APP, "s", "app", ContainerState.RUNNING, cgroups_path=self.GROUP)
        told.replace_all([], [known], told.mark())
        assert len(found) == 1
        end()
        told.remove(APP)
        told.put_container(known)
        assert len(found) == 1
