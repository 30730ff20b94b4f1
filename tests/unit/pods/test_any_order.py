"""What a runtime tells in any order, late, twice or not at all, against a model of what there is.

The client's own code runs: its relists, its questions and its handling of events. The runtime is two dictionaries, and
an answer stands for the moment it was asked for, whenever it arrives. Nothing waits and nothing is opened.
"""

from __future__ import annotations

import asyncio

import pytest
from holdfast.api.runtime.v1 import runtime_pb2 as pb
from holdfast.pods.cri import Client
from holdfast.pods.directory import PAUSE, Directory
from holdfast.pods.runtime import Source
from holdfast.pods.tally import Tally
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

CREATED, STARTED = pb.CONTAINER_CREATED_EVENT, pb.CONTAINER_STARTED_EVENT
STOPPED, DELETED = pb.CONTAINER_STOPPED_EVENT, pb.CONTAINER_DELETED_EVENT
UIDS = [f"3f2c1a90-0b7e-4c52-9d5e-8a1f6b7c2d3{digit}" for digit in "ab"]


class Answers:
    """The runtime at the seam of its stub and of its channel: an answer is made at once and given when it is due."""

    def __init__(self, machine: AnyOrder) -> None:
        self._machine = machine
        self.due: list[tuple[asyncio.Future, object]] = []

    async def _when_due(self, answer):
        future = asyncio.get_running_loop().create_future()
        self.due.append((future, answer))
        return await future

    def _pods(self, only: str = "") -> pb.ListPodSandboxResponse:
        return pb.ListPodSandboxResponse(items=[p for k, p in self._machine.pods.items() if only in ("", k)])

    def _containers(self, only: str = "") -> pb.ListContainersResponse:
        return pb.ListContainersResponse(containers=[c for k, c in self._machine.containers.items() if only in ("", k)])

    def unary_unary(self, path: str):
        """The channel's: whole lists, as bytes."""
        made = self._pods if path.endswith("ListPodSandbox") else self._containers
        return lambda request, timeout: self._when_due(made().SerializeToString())

    async def ListPodSandbox(self, request, timeout):
        return await self._when_due(self._pods(request.filter.id))

    async def ListContainers(self, request, timeout):
        return await self._when_due(self._containers(request.filter.id))


class AnyOrder(RuleBasedStateMachine):
    """``pods`` and ``containers`` are what the runtime has; ``events`` what it said of it, delivered or not."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.pods: dict[str, pb.PodSandbox] = {}
        self.containers: dict[str, pb.Container] = {}
        self.events: list[tuple[int, str]] = []
        self.number = 0
        self.tasks: list[asyncio.Task] = []
        self.answers = Answers(self)
        self.directory = Directory()
        self.directory.on_pod(lambda pod: None)
        self.client = self._on_loop(self._new_client)

    async def _new_client(self) -> Client:
        return Client(Source(), self.directory, Tally(self.directory))

    def _on_loop(self, job):
        return self.loop.run_until_complete(job())

    def _turn(self) -> None:
        """Let everything that can go on go on; what failed fails here."""

        async def turn() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        self._on_loop(turn)
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            task.result()

    def _id(self) -> str:
        self.number += 1
        return f"{self.number:064x}"

    # -- what happens on the node ------------------------------------------------------------------------------------

    @rule(uid=st.sampled_from(UIDS))
    def a_sandbox_starts(self, uid: str) -> None:
        key = self._id()
        metadata = pb.PodSandboxMetadata(name=f"n-{uid[-1]}", uid=uid, namespace="db")
        self.pods[key] = pb.PodSandbox(id=key, metadata=metadata, created_at=self.number)
        self.events += [(CREATED, key), (STARTED, key)]

    @precondition(lambda self: self.pods)
    @rule(data=st.data())
    def a_container_starts(self, data) -> None:
        key, sandbox = self._id(), data.draw(st.sampled_from(sorted(self.pods)))
        metadata = pb.ContainerMetadata(name=f"c{self.number}")
        self.containers[key] = pb.Container(
            id=key, pod_sandbox_id=sandbox, metadata=metadata, state=pb.CONTAINER_RUNNING, created_at=self.number
        )
        self.events += [(CREATED, key), (STARTED, key)]

    @precondition(lambda self: self.containers)
    @rule(data=st.data())
    def a_container_stops(self, data) -> None:
        key = data.draw(st.sampled_from(sorted(self.containers)))
        self.containers[key].state = pb.CONTAINER_EXITED
        self.events.append((STOPPED, key))

    @precondition(lambda self: self.containers)
    @rule(data=st.data())
    def a_container_is_deleted(self, data) -> None:
        key = data.draw(st.sampled_from(sorted(self.containers)))
        del self.containers[key]
        self.events.append((DELETED, key))

    @precondition(lambda self: self.pods)
    @rule(data=st.data())
    def a_sandbox_stops(self, data) -> None:
        key = data.draw(st.sampled_from(sorted(self.pods)))
        self.pods[key].state = pb.SANDBOX_NOTREADY
        self.events.append((STOPPED, key))

    @precondition(lambda self: self.pods)
    @rule(data=st.data())
    def a_sandbox_is_deleted_with_its_containers(self, data) -> None:
        key = data.draw(st.sampled_from(sorted(self.pods)))
        del self.pods[key]
        for container in [c for c, one in self.containers.items() if one.pod_sandbox_id == key]:
            del self.containers[container]
            self.events.append((DELETED, container))
        self.events.append((DELETED, key))

    # -- what is told of it ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.events)
    @rule(data=st.data(), kept=st.booleans())
    def an_event_arrives(self, data, kept: bool) -> None:
        """Any of those that there were, so late or early; again if it is ``kept``."""
        at = data.draw(st.integers(0, len(self.events) - 1))
        kind, key = self.events[at] if kept else self.events.pop(at)
        self.client._on_event(pb.ContainerEventResponse(container_id=key, container_event_type=kind))
        self._turn()

    @precondition(lambda self: self.number)
    @rule(data=st.data())
    def a_process_asks(self, data) -> None:
        self._asked(f"{data.draw(st.integers(1, self.number)):064x}")
        self._turn()

    @precondition(lambda self: not self.client._missing.empty())
    @rule()
    def the_runtime_is_asked_for_one(self) -> None:
        key, _, _ = self.client._missing.get_nowait()
        self.client._asked_for.discard(key)
        self.tasks.append(self.loop.create_task(self.client._fetch(self.answers, key)))
        self._turn()

    @rule()
    def a_relist_begins(self) -> None:
        self.tasks.append(self.loop.create_task(self.client._relist(self.answers)))
        self._turn()

    @precondition(lambda self: self.answers.due)
    @rule(data=st.data())
    def an_answer_arrives(self, data) -> None:
        future, answer = self.answers.due.pop(data.draw(st.integers(0, len(self.answers.due) - 1)))
        future.set_result(answer)
        self._turn()

    @rule()
    def the_connection_is_lost(self) -> None:
        self._drop_everything()

    @rule()
    def the_runtime_restarts_without_its_containers(self) -> None:
        self._drop_everything()
        self.pods.clear()
        self.containers.clear()
        self.events.clear()

    @rule()
    def everything_is_told_and_a_relist_runs_alone(self) -> None:
        """Then what is known is what there is, whatever came before."""
        self._drop_everything()
        self.client._missing = asyncio.Queue()
        self.client._asked_for.clear()
        self.a_relist_begins()
        while self.answers.due:
            future, answer = self.answers.due.pop(0)
            future.set_result(answer)
            self._turn()
        ready = {key for key, pod in self.pods.items() if pod.state == pb.SANDBOX_READY}
        running = {key: one for key, one in self.containers.items() if one.state == pb.CONTAINER_RUNNING}
        assert {pod.sandbox_id for pod in self.directory.pods()} == ready
        for number in range(1, self.number + 1):
            key = f"{number:064x}"
            assert (self.directory.container(key) is not None) == (key in running)
        for key, one in running.items():
            assert self._asked(key) == (("db", one.metadata.name) if one.pod_sandbox_id in ready else ("", ""))
        for key in ready:
            assert self._asked(key) == ("db", PAUSE)
        for uid in UIDS:
            found = self.directory.pod_of({"": f"/kubepods/pod{uid}"})
            expected = any(self.pods[key].metadata.uid == uid for key in ready)
            assert (found.name != "") == expected, uid

    def _asked(self, container_id: str) -> tuple[str, str]:
        """The namespace and container of a process in a container's group, whose path names no pod by uid."""
        found = self.directory.pod_of({"": f"/k8s.io/{container_id}"})
        return (found.namespace, found.container) if found is not None else ("", "")

    def _drop_everything(self) -> None:
        async def cancelled() -> None:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

        self._on_loop(cancelled)
        self.tasks.clear()
        self.answers.due.clear()

    @invariant()
    def no_more_is_remembered_than_is_known(self) -> None:
        if not hasattr(self, "directory"):
            return
        known = self.directory._pods.keys() | self.directory._containers.keys()
        uids = {pod.uid for pod in self.directory.pods()}
        assert self.directory._answers.keys() <= known | uids
        assert set().union(*self.directory._of_sandbox.values(), set()) <= self.directory._containers.keys()
        assert set().union(*self.directory._of_uid.values(), set()) == self.directory._pods.keys()

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self._drop_everything()
            self.loop.close()


TestAnyOrder = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")(AnyOrder.TestCase)
TestAnyOrder.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
