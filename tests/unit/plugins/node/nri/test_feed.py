import os

from holdfast.plugins.node.nri.feed import DirectoryFeed
from holdfast.pods.directory import Directory
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord
from holdfast.process import ProcRoot

UID = "0e2b3c4d-0000-1111-2222-333344445555"
ID = "c" * 64
POD = PodRecord("s1", UID, "db", "pg-0", {"app": "pg"}, {"team": "a"}, f"/kubepods/pod{UID}")
PATHS = {"": f"/kubepods/pod{UID}/{ID}"}


def fed():
    directory = Directory()
    return directory, DirectoryFeed(directory, ProcRoot("/proc"))


def own_ticks():
    with ProcRoot("/proc") as proc, proc.open(os.getpid()) as process:
        return process.start_ticks()


def test_a_process_of_a_created_container_is_known_by_all_of_its_pod():
    directory, feed = fed()
    feed.pod(POD)
    feed.container(
        ContainerRecord(ID, "s1", "postgres", ContainerState.CREATED, oom_score_adj=-500, oom_score_adj_asked=985)
    )
    ref = directory.pod_of(PATHS)
    assert (ref.namespace, ref.name, ref.container, ref.labels["app"]) == ("db", "pg-0", "postgres", "pg")
    assert (ref.oom_score_adj, ref.oom_score_adj_asked) == (-500, 985)


def test_a_container_that_runs_has_the_start_of_its_process():
    directory, feed = fed()
    feed.container(ContainerRecord(ID, "s1", "postgres", ContainerState.RUNNING, pid=os.getpid()))
    known = directory.container(ID)
    assert known.state is ContainerState.RUNNING
    assert (known.pid, known.start_ticks) == (os.getpid(), own_ticks())


def test_a_pid_nobody_has_has_no_start():
    directory, feed = fed()
    feed.container(ContainerRecord(ID, "s1", "postgres", ContainerState.RUNNING, pid=2**22 - 1))
    assert (directory.container(ID).start_ticks, directory.container(ID).state) == (0, ContainerState.RUNNING)


def test_what_stopped_or_is_gone_is_not_known():
    directory, feed = fed()
    feed.pod(POD)
    for state in (ContainerState.STOPPED, ContainerState.RUNNING):
        feed.container(ContainerRecord(ID, "s1", "postgres", ContainerState.RUNNING))
        feed.container(ContainerRecord(ID, "s1", "postgres", state))
        feed.container_gone(ID)
        assert directory.container(ID) is None
    feed.pod_gone("s1")
    assert directory.sizes == (0, 0)


def test_a_synchronisation_is_all_there_is():
    directory, feed = fed()
    feed.pod(PodRecord("old", "u", "n", "p"))
    feed.everything([POD], [ContainerRecord(ID, "s1", "postgres", ContainerState.RUNNING)])
    assert directory.sizes == (1, 1)
    assert directory.pod("old") is None
