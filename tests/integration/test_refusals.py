"""Refusals of the kernel or an interlock, met for real: one line, its reason, and what to do about it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from holdfast.cgroups import UNIFIED, Mode
from holdfast.errors import ConfigError
from holdfast.node.model.decision import Reason
from holdfast.node.model.placement import State
from holdfast.node.proc.host import capabilities

from tests.fakes.placement import rules
from tests.integration.node_kit import NAME, adj_of, group_of, set_adj

pytestmark = pytest.mark.root


@pytest.fixture
def is_v2(hierarchy):
    return hierarchy.mode is Mode.UNIFIED


@pytest.fixture
def tree_of(hierarchy):
    """The hierarchy that has a controller."""
    return lambda controller: hierarchy.tree(hierarchy.name_of(controller))


@pytest.fixture
def refused(run, program, sleeper):
    """Runs a rule over one process; its only refusal, as (reason, detail), and the process."""

    def meet(*, at=None, name=NAME, **rule):
        process = sleeper(program, "600")
        if at is not None:
            tree, path = at
            tree.join(path, process.pid)
        engine = run({"match": {"comm": name}, **rule})
        (refusal,) = engine.placement(process.pid).refusals
        assert "\n" not in refusal.detail
        return refusal.reason, refusal.detail, process, engine

    return meet


def target(path, *controllers, **settings):
    return {"path": path, "controllers": list(controllers), "settings": settings}


def test_minus_1000_is_refused_where_the_rule_is_written():
    with pytest.raises(ConfigError, match="add unkillable: true, or use -999"):
        rules({"match": {"comm": NAME}, "oom_score_adj": -1000})


def test_a_value_the_process_chose_itself(run, program, sleeper):
    process = sleeper(program, "600")
    set_adj(process.pid, 123)
    engine = run({"match": {"comm": NAME}, "oom_score_adj": 300, "only_if_inherited": True})
    (refusal,) = engine.placement(process.pid).refusals
    assert (refusal.reason, "it chose that itself" in refusal.detail) == (Reason.SET_BY_ITSELF, True)
    assert adj_of(process.pid) == 123


def test_pid_1_and_what_lifts_it(run):
    with open("/proc/1/comm") as file:
        name = file.read().strip()
    before = adj_of(1)
    engine = run({"match": {"comm": name, "cgroup": "**"}, "oom_score_adj": min(before + 1, 1000), "dry_run": True})
    placement = engine.placement(1)
    assert [refusal.reason for refusal in placement.refusals] == [Reason.INIT]
    assert "allow_init: true" in placement.refusals[0].detail
    assert adj_of(1) == before


def test_we_ourselves_and_kernel_threads_are_never_even_considered(run):
    with open("/proc/self/comm") as file:
        own = file.read().strip()
    engine = run({"match": {"comm": [own, "kthreadd"]}, "oom_score_adj": 300, "dry_run": True})
    assert [engine.placement(pid) for pid in (os.getpid(), 2)] == [None, None]


def test_leaving_a_pod_and_what_lifts_it(refused, tree_of, group):
    tree = tree_of("pids")
    pod = f"{group}/kubepods/burstable/pod3f2c1a90-0b7e-4c52-9d5e-8a1f6b7c2d3e"
    tree.create(pod)
    reason, detail, process, engine = refused(at=(tree, pod), cgroup=target(f"{group}/own", "pids"))
    assert (reason, "leave_kubepods: true" in detail) == (Reason.LEAVE_KUBEPODS, True)
    assert group_of(process.pid, tree.name) == pod
    engine.set_rules({"match": {"comm": NAME}, "cgroup": target(f"{group}/own", "pids"), "leave_kubepods": True})
    assert group_of(process.pid, tree.name) == f"{group}/own"


def test_a_limit_that_is_too_small_names_both_sizes(refused, tree_of, group, is_v2):
    tree = tree_of("memory")
    tree.create(group, ["memory"] if is_v2 else ())
    tree.write(group, "memory.max" if is_v2 else "memory.limit_in_bytes", str(64 * 1024))
    reason, detail, process, _ = refused(cgroup=target(group, "memory"))
    assert (reason, "0.1 MiB" in detail, "allow_small_limit: true" in detail) == (Reason.MEMORY_LIMIT, True, True)
    assert group_of(process.pid, tree.name) != group


def test_a_setting_the_other_version_has(refused, group, is_v2):
    name = "memory.swappiness" if is_v2 else "memory.min"
    reason, detail, _, _ = refused(cgroup=target(group, "memory", **{name: 1}))
    assert (reason, name in detail) == (Reason.NO_EQUIVALENT, True)


def test_a_setting_in_place_in_the_root_group(refused, tree_of, is_v2):
    tree = tree_of("pids")
    reason, detail, _, _ = refused(at=(tree, "/"), in_place={"pids.max": 5})
    assert (reason, detail.endswith("move it")) == (Reason.ROOT_GROUP, True)


def test_a_controller_nobody_has(refused, group, hierarchy):
    here = {controller for tree in hierarchy.trees.values() for controller in tree.controllers()}
    some = {"misc": "misc.max", "rdma": "rdma.max", "cpuset": "cpuset.cpus"}
    values = {"misc.max": "res 3", "rdma.max": "mlx4_0 hca_handle=2", "cpuset.cpus": "0"}
    file = next((file for controller, file in some.items() if controller not in here), None)
    if file is None:
        pytest.skip("this kernel has every controller")
    reason, detail, _, _ = refused(cgroup=target(group, "pids", **{file: values[file]}))
    assert (reason, file in detail) == (Reason.NO_CONTROLLER, True)


def test_a_frozen_target_and_what_lifts_it(refused, hierarchy, group, is_v2):
    if not is_v2 and not any("freezer" in name.split(",") for name in hierarchy.names):
        pytest.skip("no freezer hierarchy here")
    tree = hierarchy.tree(UNIFIED if is_v2 else hierarchy.name_of("freezer"))
    tree.create(group)
    file, frozen, thawed = ("cgroup.freeze", "1", "0") if is_v2 else ("freezer.state", "FROZEN", "THAWED")
    tree.write(group, file, frozen)
    try:
        reason, detail, process, _ = refused(cgroup=target(group, "freezer"))
        assert (reason, "allow_frozen: true" in detail) == (Reason.FROZEN, True)
        assert group_of(process.pid, tree.name) != group
    finally:
        tree.write(group, file, thawed)


def test_a_v1_cpuset_that_somebody_left_empty(run, program, sleeper, hierarchy, group, is_v2):
    if is_v2:
        pytest.skip("v2 gives a group what its parent has")
    tree = hierarchy.tree(hierarchy.name_of("cpuset"))
    os.mkdir(tree.at(group))
    process = sleeper(program, "600")
    engine = run({"match": {"comm": NAME}, "cgroup": target(group, "cpuset")})
    refusals = engine.placement(process.pid).refusals
    assert {refusal.reason for refusal in refusals} == {Reason.CPUSET}
    assert [refusal.detail for refusal in refusals] == [
        f"{file} of {group} is empty, so nothing may run there: add it to settings"
        for file in ("cpuset.cpus", "cpuset.mems")
    ]
    cpus, mems = tree.read("/", "cpuset.cpus"), tree.read("/", "cpuset.mems")
    filled = target(group, "cpuset", **{"cpuset.cpus": cpus, "cpuset.mems": mems})
    engine.set_rules({"match": {"comm": NAME}, "cgroup": filled})
    assert group_of(process.pid, tree.name) == group


def test_a_process_whose_threads_have_v1_groups_of_their_own(run, hierarchy, group, is_v2):
    if is_v2:
        pytest.skip("threads have groups of their own below a threaded group only")
    tree, name = hierarchy.tree(hierarchy.name_of("pids")), f"hf-t-{os.getpid()}"
    code = (
        "import sys, threading; open('/proc/self/comm','w').write(sys.argv[1]);"
        "threading.Thread(target=sys.stdin.read).start(); print(flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        (thread,) = set(os.listdir(f"/proc/{process.pid}/task")) - {str(process.pid)}
        for path in (group, f"{group}/own"):
            os.mkdir(tree.at(path))
        Path(tree.at(f"{group}/own"), "tasks").write_text(thread)
        rule = {"match": {"comm": name}, "oom_score_adj": 250, "cgroup": target(f"{group}/a", "pids")}
        engine = run(rule)
        (refusal,) = engine.placement(process.pid).refusals
        assert (refusal.reason, adj_of(process.pid)) == (Reason.THREADED, 250)
        assert (group_of(process.pid, tree.name), group_of(thread, tree.name)) == (
            group_of(os.getpid(), tree.name),
            f"{group}/own",
        )
        Path(tree.at("/"), "tasks").write_text(thread)
        tree.join("/", process.pid)
        engine.set_rules(rule)
        assert {group_of(one, tree.name) for one in (process.pid, thread)} == {f"{group}/a"}
        engine.set_rules()
        assert {group_of(one, tree.name) for one in (process.pid, thread)} == {"/"}


def test_a_real_time_process_into_a_v1_cpu_group_without_runtime(run, program, sleeper, hierarchy, group, is_v2):
    if is_v2 or not os.path.exists(f"{hierarchy.tree(hierarchy.name_of('cpu')).at('/')}/cpu.rt_runtime_us"):
        pytest.skip("this kernel does not account real-time time by group")
    process = sleeper(program, "600")
    os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(1))
    engine = run({"match": {"comm": NAME}, "cgroup": target(group, "cpu")})
    (refusal,) = engine.placement(process.pid).refusals
    assert (refusal.reason, "cpu.rt_runtime_us is 0" in refusal.detail) == (Reason.KERNEL, True)


def test_a_value_below_what_may_be_written(refused):
    if "CAP_SYS_RESOURCE" in capabilities("/proc"):
        pytest.skip("holds CAP_SYS_RESOURCE")
    reason, detail, process, _ = refused(oom_score_adj=-5)
    assert (reason, "add the capability" in detail) == (Reason.CAPABILITY, True)
    assert adj_of(process.pid) == 0


def test_a_group_somebody_removed_is_made_again(run, program, sleeper, tree_of, group, is_v2):
    tree = tree_of("pids")
    tree.create(group, ["pids"] if is_v2 else ())
    engine = run({"match": {"comm": NAME}, "cgroup": target(group, "pids")})
    engine.engine._loop.facts.groups[group]  # looked at, and it is there
    assert tree.remove(group)
    process = sleeper(program, "600")
    engine.settle()
    assert group_of(process.pid, tree.name) == group
    assert engine.placement(process.pid).state is State.HELD
