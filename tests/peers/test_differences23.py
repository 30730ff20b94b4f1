"""Rows of docs/containerd-differences.md in which containerd 2.3 differs from 1.6, and holdfast is as 1.6."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import any_pb2, timestamp_pb2
from holdfast.api.services.containers.v1 import containers_pb2 as containers
from holdfast.api.services.containers.v1.containers_pb2_grpc import ContainersStub
from holdfast.api.services.events.v1 import events_pb2 as events
from holdfast.api.services.events.v1.events_pb2_grpc import EventsStub
from holdfast.api.types.event_pb2 import Envelope

from tests.needs import peer
from tests.peers.case import ctr
from tests.running import PATIENCE_S

pytestmark = [peer("containerd", "containerd23/containerd", "ctr"), pytest.mark.root]
IN_HF = (("containerd-namespace", "hf"),)


@pytest.fixture
def all_three(ours, theirs, newest):
    """A containerd 1.6, a containerd 2.3 and a holdfast."""
    return theirs(), newest(), ours()


def codes(daemons, call):
    """The status of one call at each daemon."""
    answers = []
    for daemon in daemons:
        with grpc.insecure_channel(f"unix:{daemon.address}") as channel:
            try:
                call(channel)
                answers.append("OK")
            except grpc.RpcError as error:
                answers.append(error.code().name)
    return answers


def test_leases_are_a_service_where_2_3_has_a_manager(all_three):
    listed = [ctr(daemon, "plugins", "ls", "id~=leases-service|manager").stdout for daemon in all_three]
    assert ["io.containerd.service.v1 " in text for text in listed] == [True, False, True]
    assert ["io.containerd.lease.v1 " in text for text in listed] == [False, True, False]


def test_an_event_without_a_time_is_refused_where_2_3_takes_it(all_three):
    event = any_pb2.Any(type_url="x.Y", value=b"x")

    def forward(channel, **time):
        envelope = Envelope(namespace="hf", topic="/a/b", event=event, **time)
        EventsStub(channel).Forward(events.ForwardRequest(envelope=envelope), timeout=PATIENCE_S)

    at_one = timestamp_pb2.Timestamp(seconds=1)
    assert codes(all_three, lambda channel: forward(channel, timestamp=at_one)) == ["OK", "OK", "OK"]
    assert codes(all_three, forward) == ["INVALID_ARGUMENT", "OK", "INVALID_ARGUMENT"]


def test_a_container_needs_a_specification_where_2_3_takes_any(all_three):
    runtime = containers.Container.Runtime(name="io.containerd.runc.v2")
    made = containers.Container(id="c", runtime=runtime)

    def create(channel):
        request = containers.CreateContainerRequest(container=made)
        ContainersStub(channel).Create(request, metadata=IN_HF, timeout=PATIENCE_S)

    assert codes(all_three, create) == ["INVALID_ARGUMENT", "OK", "INVALID_ARGUMENT"]
