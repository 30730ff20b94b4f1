import asyncio

import pytest
from holdfast.api.nri.v1alpha1 import nri_pb2 as pb
from holdfast.errors import Unavailable
from holdfast.node.plan.creation import ContainerAdjustment
from holdfast.plugins.node.nri import message
from holdfast.plugins.node.nri.metrics import NriMetrics
from holdfast.plugins.node.nri.service import fail_open
from holdfast.pods.created import Created, CreatedFile, CreatedStore
from holdfast.pods.nri import EVENT_MASK
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord
from holdfast.ttrpc import Kind

from tests.running import async_until
from tests.unit.plugins.node.nri.kit import POD, a_container, serving

SANDBOX = PodRecord("s1", "u1", "db", "pg-0", {"app": "pg"})


async def test_parts_are_answered_as_parts_and_given_on_as_one(tmp_path):
    async with serving(tmp_path) as (plugin, link):
        for part in (
            pb.SynchronizeRequest(pods=[POD], more=True),
            pb.SynchronizeRequest(more=True),  # a runtime that cannot make its parts smaller sends many of these
            pb.SynchronizeRequest(containers=[a_container(state=pb.CONTAINER_RUNNING)], more=True),
        ):
            assert (await plugin.Synchronize(part)).more
            assert link.handler_context.feed.calls == []
        assert not (await plugin.Synchronize(pb.SynchronizeRequest())).more
        ((name, pods, containers),) = link.handler_context.feed.calls
        assert (name, pods) == ("everything", [SANDBOX])
        assert [(some.id, some.state, some.oom_score_adj) for some in containers] == [
            ("c1", ContainerState.RUNNING, 985)
        ]


async def test_what_a_container_was_created_with_is_told_with_what_was_asked_for(tmp_path):
    async with serving(tmp_path) as (plugin, link):
        link.handler_context.store.put(Created("c1", 985, -500, "pg"))
        link.handler_context.store.put(Created("gone", 985, -500, "pg"))
        await plugin.Synchronize(pb.SynchronizeRequest(pods=[POD], containers=[a_container(adj=-500)]))
        (container,) = link.handler_context.feed.calls[0][2]
        assert (container.oom_score_adj, container.oom_score_adj_asked) == (-500, 985)
        assert link.handler_context.store.get("gone") is None


OLD = [  # how a runtime before NRI 0.12 says it, and how later ones do
    (pb.RUN_POD_SANDBOX, "RunPodSandbox", ["pod"]),
    (pb.STOP_POD_SANDBOX, "StopPodSandbox", []),
    (pb.REMOVE_POD_SANDBOX, "RemovePodSandbox", ["pod_gone"]),
    (pb.POST_START_CONTAINER, "PostStartContainer", ["container"]),
    (pb.STOP_CONTAINER, "StopContainer", ["container"]),
    (pb.REMOVE_CONTAINER, "RemoveContainer", ["container_gone"]),
    (pb.UPDATE_POD_SANDBOX, None, []),
    (99, None, []),
]


@pytest.mark.parametrize(("event", "method", "told"), OLD)
async def test_an_event_means_the_same_in_either_words(tmp_path, event, method, told):
    async with serving(tmp_path) as (plugin, link):
        container = None if "Pod" in (method or "") else a_container()
        await plugin.StateChange(pb.StateChangeEvent(event=event, pod=POD, container=container))
        calls = list(link.handler_context.feed.calls)
        assert [call[0] for call in calls] == told
        if method is not None:
            link.handler_context.feed.calls.clear()
            request = pb.PodEvent(pod=POD) if container is None else pb.ContainerEvent(pod=POD, container=container)
            await getattr(plugin, method)(request)
            assert link.handler_context.feed.calls == calls


async def test_a_creation_is_answered_recorded_and_told(tmp_path):
    async with serving(tmp_path) as (plugin, link):
        link.handler_context.values_source.values = ContainerAdjustment(
            "pg", -500, "/holdfast/db", {"memory.oom.group": "0"}
        )
        reply = await plugin.CreateContainer(pb.ContainerEvent(pod=POD, container=a_container()))
        linux = reply.adjust.linux
        assert (linux.oom_score_adj.value, linux.cgroups_path) == (-500, "/holdfast/db/c1")
        assert dict(linux.resources.unified) == {"memory.oom.group": "0"}
        assert link.handler_context.store.get("c1") == Created("c1", 985, -500, "pg")
        assert [call[0] for call in link.handler_context.feed.calls] == ["pod", "container"]
        (event,) = link.events
        assert (event.outcome, event.rule, event.asked, event.oom_score_adj) == ("adjusted", "pg", 985, -500)


async def test_a_container_that_runs_is_handed_to_the_engine_with_what_was_asked_for(tmp_path):
    async with serving(tmp_path) as (plugin, link):
        for row in (Created("c1", 985, -500, "pg"), Created("unasked", None, 0, "pg")):
            link.handler_context.store.put(row)
        for container in (a_container(pid=321), a_container(), pb.Container(id="unasked", pid=5), pb.Container(id="x")):
            await plugin.PostStartContainer(pb.ContainerEvent(pod=POD, container=container))
        assert link.adopted == [(321, 985, -500, "pg")]


async def test_files_of_its_group_are_handed_to_the_engine_with_what_they_would_say_without_us(tmp_path):
    async with serving(tmp_path) as (plugin, link):
        link.handler_context.values_source.values = ContainerAdjustment(
            "pg", settings={"memory.oom.group": "0", "memory.min": "4096", "cpu.weight": "5"}
        )
        container = a_container(pid=321)
        container.linux.cgroups_path = "/kubepods/podu1/c1"
        container.linux.resources.unified["memory.oom.group"] = "1"
        reply = await plugin.CreateContainer(pb.ContainerEvent(pod=POD, container=container))
        assert dict(reply.adjust.linux.resources.unified) == {"memory.oom.group": "0", "memory.min": "4096"}
        assert link.adopted == []
        await plugin.PostStartContainer(pb.ContainerEvent(pod=POD, container=container))
        files = [
            CreatedFile("c1", "memory.oom.group", "1", "0", "pg"),
            CreatedFile("c1", "memory.min", "0", "4096", "pg"),
        ]
        assert link.adopted == [("/kubepods/podu1/c1", files)]
        await plugin.RemoveContainer(pb.ContainerEvent(pod=POD, container=container))
        assert link.handler_context.store.files("c1") == ()


async def synchronize(plugin, container):
    await plugin.Synchronize(pb.SynchronizeRequest(pods=[POD], containers=[container]))


async def test_a_container_that_started_while_we_were_away_is_handed_over_once(tmp_path):
    async with serving(tmp_path) as (plugin, link):
        link.handler_context.values_source.values = ContainerAdjustment("pg", -500)
        await plugin.CreateContainer(pb.ContainerEvent(pod=POD, container=a_container()))
        store = link.handler_context.store
        await synchronize(plugin, a_container(adj=-500))  # it does not run yet
        assert (link.adopted, store.waits("c1")) == ([], True)

        link.adoption_target.error = Unavailable("the journal's disk is full")
        await synchronize(plugin, a_container(adj=-500, pid=321))
        assert (link.adopted, store.waits("c1")) == ([], True)
        again = CreatedStore(tmp_path / "created.db")  # as the next of us finds it
        assert again.waits("c1")
        again.close()

        link.adoption_target.error = None
        for _ in range(2):
            await synchronize(plugin, a_container(adj=-500, pid=321))
            await async_until(lambda: not store.waits("c1"))  # the engine's answer comes in turns of its own
            assert link.adopted == [(321, 985, -500, "pg")]
        again = CreatedStore(tmp_path / "created.db")
        assert (again.waits("c1"), again.get("c1")) == (False, Created("c1", 985, -500, "pg"))
        again.close()


async def test_what_cannot_be_recorded_is_not_done(tmp_path):
    async with serving(tmp_path) as (plugin, link):
        link.handler_context.values_source.values = ContainerAdjustment("pg", -500)
        link.handler_context.store.close()
        reply = await plugin.CreateContainer(pb.ContainerEvent(pod=POD, container=a_container()))
        assert reply == pb.CreateContainerResponse()


METHODS = [
    ("CreateContainer", pb.ContainerEvent(pod=POD, container=a_container()), pb.CreateContainerResponse()),
    ("StopContainer", pb.ContainerEvent(pod=POD, container=a_container()), pb.StopContainerResponse()),
    ("PostStartContainer", pb.ContainerEvent(pod=POD, container=a_container()), pb.Empty()),
    ("RemoveContainer", pb.ContainerEvent(pod=POD, container=a_container()), pb.Empty()),
    ("RunPodSandbox", pb.PodEvent(pod=POD), pb.Empty()),
    ("RemovePodSandbox", pb.PodEvent(pod=POD), pb.Empty()),
    ("StateChange", pb.StateChangeEvent(event=pb.RUN_POD_SANDBOX, pod=POD), pb.Empty()),
    ("Synchronize", pb.SynchronizeRequest(pods=[POD]), pb.SynchronizeResponse()),
]


@pytest.mark.parametrize(("method", "request_", "empty"), METHODS)
async def test_no_error_leaves_a_handler(tmp_path, method, request_, empty):
    async with serving(tmp_path) as (plugin, link):
        link.handler_context.feed.broken = True
        assert await getattr(plugin, method)(request_) == empty
        assert link.handler_context.metrics.failures.labels(method).value == 1
        link.handler_context.feed.broken = False
        assert await getattr(plugin, method)(request_) == empty


async def test_a_message_with_nothing_in_it_is_no_error_either(tmp_path):
    async with serving(tmp_path) as (plugin, link):
        for method, request, _ in METHODS:
            await getattr(plugin, method)(type(request)())
        await plugin.Configure(pb.ConfigureRequest())
        await plugin.Shutdown(pb.Empty())
        assert link.handler_context.metrics.failures.values() == []


async def test_a_wish_that_takes_longer_than_the_budget_is_none(tmp_path):
    async with serving(tmp_path, budget_s=0.01) as (plugin, link):
        link.handler_context.values_source.never = True
        reply = await plugin.CreateContainer(pb.ContainerEvent(pod=POD, container=a_container()), timeout=30)
        assert reply == pb.CreateContainerResponse()


async def test_the_budget_is_half_of_what_the_runtime_still_waits():
    class Call:
        def time_remaining(self):
            return 0.02

    async def never(request, call):
        await asyncio.Event().wait()

    guarded = fail_open(NriMetrics(), 1000)("/x/Configure", Kind.UNARY, never)
    assert (await guarded(pb.ConfigureRequest(), Call())).events == EVENT_MASK


@pytest.mark.parametrize(
    ("adj", "encoded"),
    [(0, "2200"), (-1, "220b 08ffffffffffffffffff01"), (985, "2203 08d907"), (None, "")],
)
def test_a_value_is_there_or_not_there_on_the_wire(adj, encoded):
    assert message.adjust(
        ContainerAdjustment("r", adj), ContainerRecord("c", "s", "n")
    ).linux.SerializeToString() == bytes.fromhex(encoded)


def test_what_of_a_message_nobody_named_is_kept():
    pod = pb.PodSandbox.FromString(POD.SerializeToString() + bytes.fromhex("5203") + b"ip1")
    assert pod.SerializeToString().endswith(bytes.fromhex("5203") + b"ip1")
    assert message.pod_record(pod) == SANDBOX


@pytest.mark.parametrize(
    ("state", "known"),
    [(pb.CONTAINER_PAUSED, "RUNNING"), (pb.CONTAINER_STOPPED, "STOPPED"), (0, "UNKNOWN"), (77, "UNKNOWN")],
)
def test_a_state_nobody_defined_is_not_known_and_what_is_paused_runs(state, known):
    assert message.container_record(pb.Container(id="c", state=state)).state is ContainerState[known]


def test_a_container_nobody_gave_another_value_has_what_was_asked_for():
    known = message.container_record(a_container(adj=0))
    assert (known.oom_score_adj, known.oom_score_adj_asked) == (0, 0)
