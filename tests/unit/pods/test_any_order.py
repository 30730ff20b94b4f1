"""Reports of a runtime in any order, late, twice or not at all, over CRI and NRI, against a model of its state.

The client's own `run` runs, with all its jobs: relists, questions, details and the stream of events. So do the stubs
that gRPC's compiler made and NRI's feed. The runtime is two dictionaries; an answer stands for the moment of the
request, whenever it arrives. The loop's time is the machine's: nothing waits, and nothing is opened.
"""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from holdfast.api.runtime.v1 import runtime_pb2 as pb
from holdfast.plugins.node.nri.feed import DirectoryFeed
from holdfast.pods.cri import LONGEST_PAUSE_S, RETRIES_S, CriClient
from holdfast.pods.directory import Directory
from holdfast.pods.metrics import PodMetrics
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord
from holdfast.pods.runtime import RuntimeSource
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

CREATED, STARTED = pb.CONTAINER_CREATED_EVENT, pb.CONTAINER_STARTED_EVENT
STOPPED, DELETED = pb.CONTAINER_STOPPED_EVENT, pb.CONTAINER_DELETED_EVENT
UIDS = [f"3f2c1a90-0b7e-4c52-9d5e-8a1f6b7c2d3{digit}" for digit in "ab"]
RELIST_S = 10.0
MOST_ROUNDS = 10_000  # of the loop until nothing can go on, and below
MOST_ANSWERS = 500  # one after the other; more is a question that is asked without end
LIVES = {
    pb.CONTAINER_CREATED: ContainerState.CREATED,
    pb.CONTAINER_RUNNING: ContainerState.RUNNING,
    pb.CONTAINER_EXITED: ContainerState.STOPPED,
}


class Nothing(selectors.DefaultSelector):
    """No message comes from outside, so a loop that would wait is stopped."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self._stop, self.rounds = stop, 0

    def select(self, timeout: float | None = None) -> list:
        self.rounds += 1
        assert self.rounds < MOST_ROUNDS, "it goes on without end"
        if timeout != 0:
            self._stop()
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """A loop whose time the machine sets. It never waits: what cannot be completed raises."""

    def __init__(self) -> None:
        self.outside = Nothing(self.stop)
        super().__init__(self.outside)
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def turn(self) -> None:
        """Let everything that can go on go on."""
        self.outside.rounds = 0
        self.run_forever()


class Here(RuntimeSource):
    """A runtime's socket, without a file."""

    def found(self) -> list[str]:
        return ["/runtime.sock"]


def failure(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details="")


class Channel:
    """A gRPC channel at its seam: a request is answered at once, and given when it is due."""

    def __init__(self, machine: AnyOrder) -> None:
        self._machine = machine
        self.due: list[tuple[asyncio.Future, object]] = []
        self.streams: list[asyncio.Queue] = []
        self.lists = 0
        self.listed_at = 0  # by the directory's clock, when the whole lists were asked for last

    def unary_unary(self, path, request_serializer=None, response_deserializer=None, **unused):
        ask = getattr(self, f"_{path.rpartition('/')[2]}")

        async def call(request, timeout=None):
            if not self._machine.up:
                raise failure(grpc.StatusCode.UNAVAILABLE)
            try:
                answer = ask(None if isinstance(request, bytes) else request)
            except KeyError:
                answer = failure(grpc.StatusCode.NOT_FOUND)
            future = asyncio.get_running_loop().create_future()
            self.due.append((future, answer))
            answer = await future
            return answer if response_deserializer is not None else answer.SerializeToString()

        return call

    def unary_stream(self, path, request_serializer=None, response_deserializer=None, **unused):
        async def events(request):
            stream: asyncio.Queue = asyncio.Queue()
            self.streams.append(stream)
            try:
                while (event := await stream.get()) is not None:
                    if isinstance(event, Exception):
                        raise event
                    yield event
            finally:
                if stream in self.streams:
                    self.streams.remove(stream)

        return events

    def __getattr__(self, name):
        """The other kinds of calls: CRI's stub makes them all, and they are not used."""
        return lambda *given, **options: None

    def lose(self) -> None:
        """The connection is gone, for all waiting calls."""
        for future, _ in self.due:
            if not future.done():
                future.set_exception(failure(grpc.StatusCode.UNAVAILABLE))
        self.due.clear()
        for stream in self.streams:
            stream.put_nowait(failure(grpc.StatusCode.UNAVAILABLE))

    def _Version(self, request):
        return pb.VersionResponse(runtime_name="containerd", runtime_version="v2.3.0")

    def _ListPodSandbox(self, request):
        only = request.filter.id if request is not None else ""
        if request is None:
            self.listed_at = self._machine.directory.mark()
            self.lists += 1
        return pb.ListPodSandboxResponse(items=[p for k, p in self._machine.pods.items() if only in ("", k)])

    def _ListContainers(self, request):
        only = request.filter.id if request is not None else ""
        return pb.ListContainersResponse(containers=[c for k, c in self._machine.containers.items() if only in ("", k)])

    def _ContainerStatus(self, request):
        one = self._machine.containers[request.container_id]
        spec = {"linux": {"cgroupsPath": group_of(one.id)}}
        status = pb.ContainerStatus(id=one.id, metadata=one.metadata, state=one.state)
        return pb.ContainerStatusResponse(status=status, info={"info": json.dumps({"runtimeSpec": spec})})


def group_of(container_id: str) -> str:
    """Return the group where the runtime puts a container: it names no pod."""
    return f"/k8s.io/{container_id}"


class AnyOrder(RuleBasedStateMachine):
    """``pods`` and ``containers`` are what the runtime has; ``events`` and ``nri`` what it said, delivered or not."""

    @initialize()
    def begin(self) -> None:
        self.loop = Loop()
        self.pods: dict[str, pb.PodSandbox] = {}
        self.containers: dict[str, pb.Container] = {}
        self.events: list[tuple[int, str]] = []
        self.nri: list[tuple[str, object]] = []
        self.syncs: list[tuple[list[PodRecord], list[ContainerRecord]]] = []
        self.number = 0
        self.up = True
        self.started: set[str] = set()  # groups whose processes were to be looked at
        self.gone: set[str] = set()  # ids that are gone and were told to be, and that nobody told of since
        self.vain: set[str] = set()  # groups that a process asked for in vain, and nobody was told of since
        self.channel = Channel(self)
        self.directory = Directory(clock=self.loop.time)
        self.directory.on_pod(lambda pod: None)
        self.directory.on_change(self.vain.difference_update)
        self.directory.on_start(lambda start: self.started.add(start.group))
        self.feed = DirectoryFeed(self.directory, proc=None)  # without pids it opens nothing
        self.client, self.task = self.loop.run_until_complete(self._start())
        self._turn()

    async def _start(self):
        client = CriClient(Here(relist_s=RELIST_S), self.directory, PodMetrics(self.directory), connect=self._connected)
        return client, self.loop.create_task(client.run())

    @asynccontextmanager
    async def _connected(self, address):
        yield self.channel

    def _turn(self) -> None:
        """No job ends."""
        self.loop.turn()
        if self.task.done():
            self.task.result()
            raise AssertionError("the client ended")

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
        self.nri.append(("pod", PodRecord(key, uid, "db", f"n-{uid[-1]}")))

    @precondition(lambda self: self.pods)
    @rule(data=st.data())
    def a_container_is_created(self, data) -> None:
        self._tell(self._new_container(data.draw(st.sampled_from(sorted(self.pods))), pb.CONTAINER_CREATED), CREATED)

    @precondition(lambda self: any(one.state == pb.CONTAINER_CREATED for one in self.containers.values()))
    @rule(data=st.data())
    def a_container_starts(self, data) -> None:
        created = sorted(key for key, one in self.containers.items() if one.state == pb.CONTAINER_CREATED)
        key = data.draw(st.sampled_from(created))
        self.containers[key].state = pb.CONTAINER_RUNNING
        self._tell(key, STARTED)

    @precondition(lambda self: self.containers)
    @rule(data=st.data())
    def a_container_stops(self, data) -> None:
        key = data.draw(st.sampled_from(sorted(self.containers)))
        self.containers[key].state = pb.CONTAINER_EXITED
        self._tell(key, STOPPED)

    @precondition(lambda self: self.containers)
    @rule(data=st.data())
    def a_container_is_deleted(self, data) -> None:
        self._delete(data.draw(st.sampled_from(sorted(self.containers))))

    @precondition(lambda self: self.pods)
    @rule(data=st.data())
    def a_sandbox_stops(self, data) -> None:
        key = data.draw(st.sampled_from(sorted(self.pods)))
        self.pods[key].state = pb.SANDBOX_NOTREADY
        self.events.append((STOPPED, key))

    @precondition(lambda self: self.pods)
    @rule(data=st.data())
    def a_sandbox_is_deleted_with_its_containers(self, data) -> None:
        self._delete_sandbox(data.draw(st.sampled_from(sorted(self.pods))))

    def _delete_sandbox(self, key: str) -> None:
        for container in [c for c, one in self.containers.items() if one.pod_sandbox_id == key]:
            self._delete(container)
        del self.pods[key]
        self.events.append((DELETED, key))
        self.nri.append(("pod_gone", key))

    def _new_container(self, sandbox: str, state: int) -> str:
        key = self._id()
        metadata = pb.ContainerMetadata(name=f"c{self.number}")
        self.containers[key] = pb.Container(
            id=key, pod_sandbox_id=sandbox, metadata=metadata, state=state, created_at=self.number
        )
        return key

    def _delete(self, key: str) -> None:
        del self.containers[key]
        self.events.append((DELETED, key))
        self.nri.append(("container_gone", key))

    def _tell(self, key: str, kind: int) -> None:
        self.events.append((kind, key))
        self.nri.append(("container", self._of_nri(self.containers[key])))

    def _of_nri(self, one: pb.Container) -> ContainerRecord:
        return ContainerRecord(
            one.id,
            one.pod_sandbox_id,
            one.metadata.name,
            LIVES[one.state],
            oom_score_adj=0,
            oom_score_adj_asked=0,
            cgroups_path=group_of(one.id),
        )

    # -- what is told of it ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.events and self.channel.streams)
    @rule(data=st.data(), kept=st.booleans())
    def an_event_arrives(self, data, kept: bool) -> None:
        """Any of those that there were, so late or early; again if it is ``kept``."""
        at = data.draw(st.integers(0, len(self.events) - 1))
        self._deliver(*(self.events[at] if kept else self.events.pop(at)))

    def _deliver(self, kind: int, key: str) -> None:
        self.channel.streams[0].put_nowait(pb.ContainerEventResponse(container_id=key, container_event_type=kind))
        self._turn()
        if kind == DELETED:
            self.gone.add(key)

    @precondition(lambda self: self.events and self.channel.streams)
    @rule()
    def the_last_event_arrives_at_once(self) -> None:
        """As most do, while older answers are on their way."""
        self._deliver(*self.events.pop())

    @precondition(lambda self: self.channel.due)
    @rule()
    def the_last_question_is_answered_first(self) -> None:
        """One container is queried, and a list of all is older."""
        self._answer(len(self.channel.due) - 1)

    @rule(
        data=st.data(),
        what=st.sampled_from(["sandbox deleted and told", "deleted and told", "deleted", "started and told"]),
        pods_told=st.booleans(),
    )
    def a_list_is_overtaken(self, data, what: str, pods_told: bool) -> None:
        """Something happens between the runtime's list of pods, or of containers, and its arrival."""
        if not self.pods:
            self.a_sandbox_starts(UIDS[0])
        self._until_it_listens()
        sandbox = data.draw(st.sampled_from(sorted(self.pods)))
        key = self._new_container(sandbox, pb.CONTAINER_RUNNING) if what.startswith("deleted") else ""
        self.client._relist_now.set()
        self._turn()
        if pods_told:
            self._answer(0)
        older = len(self.channel.due)
        assert older, "no list was asked for"
        if what == "deleted":  # its details will be asked for in vain
            self._delete(key)
        elif what == "deleted and told":
            self._delete(key)
            self._deliver(DELETED, key)
        elif what == "sandbox deleted and told":
            self._delete_sandbox(sandbox)
            self._deliver(DELETED, sandbox)
        else:
            self._deliver(STARTED, self._new_container(sandbox, pb.CONTAINER_RUNNING))
            self._answer_all(older)
        self._answer_all()

    @rule(data=st.data(), answers=st.integers(0, 4))
    def the_connection_is_lost_while_a_new_container_is_queried(self, data, answers: int) -> None:
        """After so many answers: lists, and what only the container's own status says."""
        if not self.pods:
            self.a_sandbox_starts(UIDS[0])
        self._until_it_listens()
        self._new_container(data.draw(st.sampled_from(sorted(self.pods))), pb.CONTAINER_RUNNING)
        self.client._relist_now.set()
        self._turn()
        for _ in range(answers):
            if self.channel.due:
                self._answer(0)
        self.the_connection_is_lost()

    def _until_it_listens(self) -> None:
        self.up = True
        for _ in range(5):
            self._answer_all()
            if self.channel.streams:
                return
            self.loop.now += LONGEST_PAUSE_S * 1.2
            self._turn()
        raise AssertionError("it does not listen")

    @precondition(lambda self: self.channel.streams)
    @rule()
    def the_stream_of_events_ends(self) -> None:
        asked = self.channel.lists
        self.channel.streams[0].put_nowait(None)
        self._turn()
        lists = (pb.ListPodSandboxResponse, pb.ListContainersResponse)
        going = any(isinstance(answer, lists) for _, answer in self.channel.due)
        assert going or self.channel.lists > asked or self.client._relist_now.is_set(), "something may be lost"

    @precondition(lambda self: self.nri)
    @rule(data=st.data(), kept=st.booleans())
    def nri_tells(self, data, kept: bool) -> None:
        """The same over NRI: in any order, late, or again."""
        at = data.draw(st.integers(0, len(self.nri) - 1))
        what, told = self.nri[at] if kept else self.nri.pop(at)
        key = told.sandbox_id if isinstance(told, PodRecord) else getattr(told, "id", "")
        self.gone.discard(key)  # NRI tells of what was, and the next list of what is
        getattr(self.feed, what)(told)
        self._turn()

    @rule()
    def nri_begins_a_synchronisation(self) -> None:
        pods = [
            PodRecord(key, one.metadata.uid, one.metadata.namespace, one.metadata.name)
            for key, one in self.pods.items()
        ]
        self.syncs.append((pods, [self._of_nri(one) for one in self.containers.values()]))

    @precondition(lambda self: self.syncs)
    @rule(data=st.data())
    def nri_synchronises(self, data) -> None:
        """With what there was when it began, whatever happened since."""
        pods, containers = self.syncs.pop(data.draw(st.integers(0, len(self.syncs) - 1)))
        self.gone.difference_update([one.sandbox_id for one in pods], [one.id for one in containers])
        self.feed.everything(pods, containers)
        self._turn()

    @precondition(lambda self: self.number)
    @rule(data=st.data())
    def a_process_asks(self, data) -> None:
        key = f"{data.draw(st.integers(1, self.number)):064x}"
        if self._asked(key) == ("", ""):
            self.vain.add(group_of(key))
        self._turn()

    @rule(uid=st.sampled_from(UIDS))
    def a_process_in_a_pods_own_group_asks(self, uid: str) -> None:
        path = f"/kubepods/pod{uid}"
        if not self.directory.pod_of({"": path}).name:
            self.vain.add(path)

    @precondition(lambda self: self.channel.due)
    @rule(data=st.data())
    def an_answer_arrives(self, data) -> None:
        self._answer(data.draw(st.integers(0, len(self.channel.due) - 1)))

    @precondition(lambda self: self.channel.due)
    @rule(data=st.data(), code=st.sampled_from([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED]))
    def an_answer_fails(self, data, code) -> None:
        future, _ = self.channel.due.pop(data.draw(st.integers(0, len(self.channel.due) - 1)))
        if not future.done():
            future.set_exception(failure(code))
        self._turn()

    def _answer(self, at: int) -> None:
        future, answer = self.channel.due.pop(at)
        newer = {key for key, known in self.directory._containers.items() if known.put_at > self.channel.listed_at}
        tried = self.client._tried
        if not future.done():  # who asked may be gone
            (future.set_exception if isinstance(answer, Exception) else future.set_result)(answer)
        self._turn()
        assert self.client._tried == tried, "an answer ended the session"
        for key in newer & self._running_or_created().keys():
            assert self.directory.container(key) is not None, "an older list dropped it"

    def _answer_all(self, older: int = 0) -> None:
        """But these ``older`` ones, as long as answers lead to questions."""
        for _ in range(MOST_ANSWERS):
            if len(self.channel.due) <= older:
                return
            self._answer(older)
        raise AssertionError("it asks without end")

    @rule(seconds=st.sampled_from([0.1, 0.3, 1.0, RELIST_S * 1.2, LONGEST_PAUSE_S * 1.2]))
    def time_passes(self, seconds: float) -> None:
        self.loop.now += seconds
        self._turn()

    @rule()
    def the_connection_is_lost(self) -> None:
        self.channel.lose()
        self._turn()

    @rule(up=st.booleans(), emptied=st.booleans())
    def the_runtime_restarts(self, up: bool, emptied: bool) -> None:
        """With its containers, as containerd does, or without, as after a boot; or it is away for a while."""
        self.up = up
        self.channel.lose()
        self.events.clear()
        if emptied:
            self.pods.clear()
            self.containers.clear()
        self._turn()

    # -- what is known in the end ------------------------------------------------------------------------------------

    @rule()
    def all_is_answered_and_two_lists_later_what_is_known_is_what_there_is(self) -> None:
        self.up = True
        done = self._relists()
        for _ in range(60):
            self._answer_all()
            if self._relists() >= done + 2:
                break
            self.loop.now += RELIST_S * 1.2
            self._turn()
        else:
            raise AssertionError("no list was taken in")
        for pause_s in RETRIES_S:
            self.loop.now += pause_s
            self._turn()
            self._answer_all()
        ready = {key for key, pod in self.pods.items() if pod.state == pb.SANDBOX_READY}
        there = self._running_or_created()
        assert {pod.sandbox_id for pod in self.directory.pods()} == ready
        told = self.started - self.vain  # before it is asked for
        for number in range(1, self.number + 1):
            key = f"{number:064x}"
            assert (self.directory.container(key) is not None) == (key in there)
        for key, one in there.items():
            assert self._asked(key) == (("db", one.metadata.name) if one.pod_sandbox_id in ready else ("", ""))
            if one.state == pb.CONTAINER_RUNNING:
                assert group_of(key) in self.started, "nobody was to look at its processes"
                if one.pod_sandbox_id in ready:
                    assert group_of(key) in told, "who asked in vain was not told"
        for key in ready:
            assert self._asked(key) == ("", ""), "the runtime names no group of a sandbox"
        for uid in UIDS:
            found = self.directory.pod_of({"": f"/kubepods/pod{uid}"})
            expected = any(self.pods[key].metadata.uid == uid for key in ready)
            assert (found.name != "") == expected, uid
            assert not expected or f"/kubepods/pod{uid}" not in self.vain, "who asked for a pod in vain was not told"
        assert not self.client.why_not

    def _running_or_created(self) -> dict[str, pb.Container]:
        return {key: one for key, one in self.containers.items() if one.state != pb.CONTAINER_EXITED}

    def _relists(self) -> float:
        return dict(self.client._metrics.relists.values()).get(("done",), 0)

    def _asked(self, container_id: str) -> tuple[str, str]:
        """The namespace and container of a process in a container's group, whose path names no pod by uid."""
        found = self.directory.pod_of({"": group_of(container_id)})
        return (found.namespace, found.container) if found is not None else ("", "")

    @invariant()
    def no_more_is_remembered_than_is_known(self) -> None:
        if not hasattr(self, "client"):
            return
        known = self.directory._pods.keys() | self.directory._containers.keys()
        assert not self.gone & known, "an older answer brought back what was told to be gone"
        uids = {pod.uid for pod in self.directory.pods()}
        assert self.directory._answers.keys() <= known | uids
        assert set().union(*self.directory._of_sandbox.values(), set()) <= self.directory._containers.keys()
        assert set().union(*self.directory._of_uid.values(), set()) == self.directory._pods.keys()

    @invariant()
    def who_waits_to_be_asked_for_is_in_the_queue_and_no_other(self) -> None:
        if hasattr(self, "client"):
            assert self.client._asked_for == {key for key, *_ in self.client._missing._queue}
            assert self.client._wanted == {key for key, _ in self.client._undetailed._queue}

    def teardown(self) -> None:
        if not hasattr(self, "task"):
            return

        async def cancelled() -> None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

        self.loop.outside.rounds = 0
        try:
            self.loop.run_until_complete(cancelled())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()


TestAnyOrder = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")(AnyOrder.TestCase)
TestAnyOrder.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink takes minutes: by hand, with Phase.shrink
    suppress_health_check=list(HealthCheck),
)
