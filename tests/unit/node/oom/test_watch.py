"""Attribution of a kill, by what is left of its process."""

from __future__ import annotations

import pytest
from holdfast.errors import ProcessGone
from holdfast.node.model.memory_domain import Kill, RankedProcess
from holdfast.node.model.process import Process
from holdfast.node.oom.watch import Attribution, KillContext, attributed
from holdfast.node.proc.parse import StatLine
from holdfast.pods import cgroup_path

UID = "1d5fb235-0000-4000-8000-00000000000a"
OTHER_UID = "1d5fb235-0000-4000-8000-00000000000b"
GROUP = f"/kubepods/burstable/pod{UID}/{'c' * 64}"
OTHER = f"/kubepods/burstable/pod{OTHER_UID}/{'d' * 64}"


class Processes:
    """Values read of processes: pid → parent, group, pages, and whether it is a zombie."""

    def __init__(self, **processes):
        self.processes = {int(key[1:]): value for key, value in processes.items()}

    def stat_line(self, pid):
        if pid not in self.processes:
            raise ProcessGone(str(pid))
        ppid, _, pages, ended = self.processes[pid]
        return StatLine(pid, f"p{pid}", ppid, 1, False, pages, 1, ended)

    def facts(self, stat_line, wants):
        return Process(
            stat_line.pid, 1, stat_line.ppid, stat_line.comm, cgroups={"memory": self.processes[stat_line.pid][1]}
        )


class Pods:
    pod_of = staticmethod(cgroup_path.pod_of)


def told(reader, kill, root=""):
    kill_context = KillContext(
        lambda kill, pod: Attribution(known=False), lambda pid: None, lambda group: f"limit of {group}", lambda: root,
        tuple, reader, Pods(),
    )  # fmt: skip
    return attributed(kill, kill_context)


def kill(**given):
    return Kill(0, 7, "p7", 0, "", "", 1, 0, **given)


def test_a_process_that_still_is_in_its_group_says_where_it_was():
    assert told(Processes(p7=(1, GROUP, 10, False)), kill()).group == GROUP


@pytest.mark.parametrize("left", [(6, "/", 0, False), (6, "/", 0, True)])
def test_one_that_left_its_group_as_it_exited_was_where_its_parent_is(left):
    found = told(Processes(p7=left, p6=(1, GROUP, 10, False)), kill())
    assert (found.group, found.domain, found.pod) == (GROUP, f"limit of {GROUP}", UID)


def test_one_that_lives_in_the_root_is_there():
    assert told(Processes(p7=(6, "/", 10, False), p6=(1, GROUP, 10, False)), kill()).group == "/"


@pytest.mark.parametrize("others", [{}, {"p6": (1, "/", 10, False)}])
def test_where_nothing_says_it_neither_group_nor_domain_is_made_up(others):
    found = told(Processes(p7=(6, "/", 0, True), **others), kill())
    assert (found.group, found.domain, found.pod) == ("", "", "")


def test_those_in_line_are_in_the_pod_in_another_or_it_is_not_known():
    line = tuple(RankedProcess(pid, f"p{pid}", 1, 0) for pid in (7, 8, 9, 10))
    reader = Processes(p7=(1, GROUP, 1, False), p8=(1, f"{GROUP}/inner", 1, False), p9=(1, OTHER, 1, False))
    assert [one.in_pod for one in told(reader, kill(predicted=line)).predicted] == [True, True, False, None]


@pytest.mark.parametrize(
    ("group", "root", "confirmed"),
    [
        (GROUP, "/kubepods", True),
        (GROUP, "", False),
        (f"/user.slice{GROUP}", "/kubepods", False),
        (f"{OTHER}/kubepods/pod{UID}/{'c' * 64}", "/kubepods", False),
    ],
)
def test_a_pods_group_is_confirmed_by_its_place_below_the_kubelets_own(group, root, confirmed):
    found = told(Processes(p7=(1, group, 1, False)), kill(), root)
    assert (found.pod, found.pod_confirmed) == (UID, confirmed)
