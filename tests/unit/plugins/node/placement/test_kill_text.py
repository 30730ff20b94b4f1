import pytest
from holdfast.node.model.memory_domain import Kill, RankedProcess
from holdfast.node.model.placement import State
from holdfast.plugins.node.placement.kill_text import MOST_BYTES, text_of
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

UID = "1d5fb235-0000-4000-8000-00000000000a"
POD = f"/kubepods/burstable/pod{UID}"
CONTAINER = f"{POD}/{'c' * 64}"
VICTIM, NEXT = RankedProcess(7, "worker", 900, 500), RankedProcess(8, "java", 800, 0)
KILL = Kill(
    0, 7, "worker", 0, CONTAINER, CONTAINER, 1024, 500, "eaters", UID, "c" * 64, (VICTIM, NEXT), container="app",
    limit_pages=2048, main=False, rule_state="held",
)  # fmt: skip


def text(**changed):
    return text_of(replace(KILL, **changed), 4096)


def test_the_text_says_who_why_where_and_which_rule():
    assert text() == (
        "Process worker (pid 7, not the container's first process) in container app was OOM-killed: it used 4.0 MiB of "
        f"memory (RSS), and the container's memory limit of 8.0 MiB (cgroup {CONTAINER}) was full. "
        "Next in line: java (pid 8). Rule: eaters; oom_score_adj 500."
    )


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ("/", "the node's memory was full"),
        ("", "a memory limit that the kernel did not name was full"),
        (POD, f"the pod's memory limit of 8.0 MiB (cgroup {POD}) was full"),
        (f"{CONTAINER}/inner", f"the memory limit of 8.0 MiB of cgroup {CONTAINER}/inner was full"),
        ("/kubepods/burstable", "the memory limit of 8.0 MiB of cgroup /kubepods/burstable was full"),
        (f"/k8s.io/{'c' * 64}", f"the container's memory limit of 8.0 MiB (cgroup /k8s.io/{'c' * 64}) was full"),
    ],
)
def test_the_memory_domain_is_said_as_the_pods_owner_knows_it(domain, words):
    assert f"and {words}." in text(domain=domain)


@pytest.mark.parametrize("domain", ["/", "/kubepods/burstable", f"/kubepods/burstable/pod{UID[:-1]}b", ""])
def test_a_process_of_another_pod_is_not_named(domain):
    elsewhere = replace(NEXT, in_pod=False)
    assert "Next in line: a process outside this pod." in text(domain=domain, predicted=(VICTIM, elsewhere))
    unknown = text(domain=domain, predicted=(VICTIM, NEXT))
    assert "Next in line: a process that ended as well." in unknown
    assert "java" not in unknown
    assert "Next in line: java (pid 8)." in text(domain=domain, predicted=(VICTIM, replace(NEXT, in_pod=True)))


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"rule": None}, "No rule; oom"),
        ({"rule": None, "rule_known": False}, "No rule known (it ended before the daemon examined it); oom"),
        ({"rule_state": State.INHERITED.value}, "Rule: eaters (inherited from the process that started it); oom"),
        ({"rule_state": State.PLANNED.value}, "Rule: eaters (dry run: nothing was changed); oom"),
        ({"rule_state": State.MOVING.value}, "Rule: eaters; oom"),
        ({"rule": "hold"}, "Override; oom"),
    ],
)
def test_the_rule_is_said_as_far_as_it_had_got(known, words):
    assert words in text(**known)


def test_a_kill_that_only_a_counter_tells_names_no_process():
    assert text(pid=0, comm="", rule=None, predicted=(), main=None) == (
        "A process in container app was OOM-killed: the container's memory limit of 8.0 MiB "
        f"(cgroup {CONTAINER}) was full (which process it was is not known without the kernel log)."
    )


def test_the_first_process_of_its_container_is_called_so():
    assert text(main=True).startswith("Process worker (pid 7, the container's first process) in")
    assert text(main=None).startswith("Process worker (pid 7) in")


def test_a_name_that_a_process_chose_does_nothing():
    shown = text(comm="a\x1b[2J\n\udcff\u202e")
    assert r"Process a\x1b[2J\n\xff\u202e (pid 7" in shown


@given(st.text(max_size=300), st.text(max_size=5000), st.text(max_size=300), st.text(max_size=300))
def test_whatever_is_chosen_the_text_is_one_bounded_line(comm, domain, container, following):
    predicted = (VICTIM, RankedProcess(8, following, 1, 0, in_pod=True))
    shown = text(comm=comm, domain=domain, group=domain, container=container, predicted=predicted, rule=comm)
    assert len(shown.encode()) <= MOST_BYTES
    assert shown.isprintable()
