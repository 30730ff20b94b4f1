from __future__ import annotations

import json

import pytest
from holdfast.api.runtime.v1 import runtime_pb2 as pb
from holdfast.pods.cri_message import Listing, detailed, items, parse_container, parse_pod
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord
from hypothesis import given
from hypothesis import strategies as st


def pod(at: int, **given_) -> pb.PodSandbox:
    metadata = pb.PodSandboxMetadata(name=f"p{at}", uid=f"u{at}", namespace="db")
    return pb.PodSandbox(**{"id": f"s{at}", "metadata": metadata, "created_at": at, "labels": {"app": "pg"}, **given_})


def listing() -> Listing[PodRecord]:
    return Listing(parse_pod, lambda record: record.sandbox_id)


def answer(*pods: pb.PodSandbox) -> bytes:
    return pb.ListPodSandboxResponse(items=pods).SerializeToString()


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=300), max_size=3), max_size=5))
def test_a_list_is_cut_into_the_items_it_was_made_of(labels):
    pods = [pod(at, labels=some) for at, some in enumerate(labels)]
    cut = list(items(answer(*pods)))
    assert [pb.PodSandbox.FromString(item) for item in cut] == pods


@pytest.mark.parametrize("hostile", [b"\x12\x00", b"\x0a\x05ab", b"\x0a\xff", b"\x0a"])
def test_what_is_no_list_is_refused(hostile):
    with pytest.raises(ValueError, match="list"):
        list(items(hostile))


def test_a_pod_has_everything_rules_ask_about():
    assert parse_pod(pod(1, annotations={"a": "b"}).SerializeToString()) == PodRecord(
        "s1", "u1", "db", "p1", {"app": "pg"}, {"a": "b"}, created_at_ns=1
    )


def test_what_is_over_does_not_count():
    assert parse_pod(pod(1, state=pb.SANDBOX_NOTREADY).SerializeToString()) is None
    assert parse_container(pb.Container(id="c", state=pb.CONTAINER_EXITED).SerializeToString()) is None
    assert parse_container(pb.Container(id="c", state=pb.CONTAINER_RUNNING).SerializeToString()) == ContainerRecord(
        "c", "", "", ContainerState.RUNNING, detailed=False
    )


def test_only_what_is_new_is_parsed():
    seen = listing()
    assert [record.name for record in seen.read(answer(pod(1), pod(2)), lambda _: True)] == ["p1", "p2"]
    second = list(seen.read(answer(pod(2), pod(3), pod(1, labels={"app": "new"})), lambda _: True))
    assert (second[0], second[1].name, dict(second[2].labels)) == ("s2", "p3", {"app": "new"})


def test_an_item_that_was_forgotten_meanwhile_is_parsed_again():
    seen = listing()
    list(seen.read(answer(pod(1)), lambda _: True))
    assert next(iter(seen.read(answer(pod(1)), lambda _: False))).name == "p1"


def test_an_item_that_does_not_count_is_not_parsed_again():
    seen = listing()
    over = pod(1, state=pb.SANDBOX_NOTREADY)
    assert list(seen.read(answer(over), lambda _: True)) == [None]
    seen._parse = None
    assert list(seen.read(answer(over), lambda _: False)) == [None]


CONTAINERD = {
    "sandboxID": "s1",
    "pid": 4242,
    "removing": False,
    "config": {"metadata": {"name": "pg"}, "linux": {"resources": {"oom_score_adj": 985, "memory_limit_in_bytes": 7}}},
    "runtimeSpec": {"ociVersion": "1.0.2", "process": {"oomScoreAdj": 990}, "linux": {"cgroupsPath": "/k/p/c"}},
}
CRIO = {"sandboxID": "s1", "pid": 4242, "runtimeSpec": {"process": {"oomScoreAdj": -997}, "linux": {}}, "privileged": 0}


def status(info: str, **given_) -> pb.ContainerStatusResponse:
    some = pb.ContainerStatus(id="c", state=pb.CONTAINER_RUNNING, created_at=3, started_at=4, **given_)
    return pb.ContainerStatusResponse(status=some, info={"info": info})


def test_containerds_details_say_what_was_asked_and_what_was_given():
    record = detailed(ContainerRecord("c", "s", "pg"), status(json.dumps(CONTAINERD)))
    assert record == ContainerRecord("c", "s", "pg", ContainerState.RUNNING, 4242, 0, 990, 985, 7, "/k/p/c", 3, 4)


def test_crios_details_say_what_was_given_and_the_status_the_limit():
    limit = pb.ContainerResources(linux=pb.LinuxContainerResources(memory_limit_in_bytes=9))
    record = detailed(ContainerRecord("c", "s", "pg"), status(json.dumps(CRIO), resources=limit))
    assert (record.pid, record.oom_score_adj, record.oom_score_adj_asked, record.memory_limit) == (4242, -997, None, 9)


@pytest.mark.parametrize("info", ["", "{", "[]", '{"pid": "x"}', '{"runtimeSpec": null}', '{"config": {"linux": {}}}'])
def test_details_in_another_form_say_less_and_are_no_error(info):
    record = detailed(ContainerRecord("c", "s", "pg"), status(info))
    assert (record.pid, record.oom_score_adj, record.state) == (0, None, ContainerState.RUNNING)
