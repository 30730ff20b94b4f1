"""The engine where there is cgroup v2 alone and every capability: all of the version-neutral cases, and v2's own."""

import pytest
from holdfast.cgroups import UNIFIED
from holdfast.node.journal.rows import FileRow
from holdfast.node.model.decision import Reason
from holdfast.node.model.placement import Happening, State
from msgspec.structs import replace

from tests.integration import test_engine_killed
from tests.integration.node_kit import NAME, adj_of, counter, group_of, set_adj, stop_process
from tests.integration.test_engine import *  # noqa: F403 (the version-neutral cases)
from tests.integration.test_one_process import *  # noqa: F403
from tests.integration.test_oom_kills import *  # noqa: F403
from tests.integration.test_refusals import *  # noqa: F403

# three hundred programs are started as fast as the machine can, which an emulated one cannot
del test_many_processes_are_moved_with_few_descriptors  # noqa: F821
del test_no_capability_is_said_once_a_rule_and_the_rest_goes_on  # noqa: F821 (here every capability is held)
del test_a_value_below_what_may_be_written  # noqa: F821
# v1's own
del test_a_v1_cpuset_that_somebody_left_empty, test_a_real_time_process_into_a_v1_cpu_group_without_runtime  # noqa: F821


@pytest.fixture
def tree(hierarchy):
    return hierarchy.tree(UNIFIED)


def target(path, **more):
    return {"match": {"comm": NAME}, "cgroup": {"path": path, **more}}


def refusal_of(engine, process):
    (refusal,) = engine.placement(process.pid).refusals
    assert "\n" not in refusal.detail
    return refusal


@pytest.mark.parametrize(("value", "lifted"), [(-999, {}), (-1000, {"unkillable": True})])
def test_a_negative_value_is_held_kept_and_given_back(run, program, sleeper, value, lifted):
    process = sleeper(program, "600")
    engine = run({"match": {"comm": NAME}, "oom_score_adj": value, **lifted})
    assert adj_of(process.pid) == value
    later = sleeper(program, "600")
    engine.settle()
    assert adj_of(later.pid) == value
    set_adj(process.pid, 7)
    engine.sweep()
    assert adj_of(process.pid) == value
    engine.set_rules()
    assert [adj_of(p.pid) for p in (process, later)] == [7, 0]


def test_a_target_is_made_with_the_controllers_its_settings_need(run, program, sleeper, group, tree):
    settings = {"memory.min": "256Ki", "cpu.weight": 500}
    process = sleeper(program, "600")
    engine = run({**target(f"{group}/a", settings=settings), "oom_score_adj": -500})
    assert (adj_of(process.pid), group_of(process.pid, UNIFIED)) == (-500, f"{group}/a")
    assert (tree.read(f"{group}/a", "memory.min"), tree.read(f"{group}/a", "cpu.weight")) == (str(256 * 1024), "500")
    assert engine.placement(process.pid).state is State.HELD
    engine.set_rules()
    engine.sweep()
    assert (adj_of(process.pid), tree.exists(group)) == (0, False)


def test_oom_group_is_set_in_place_and_given_back(run, program, sleeper, group, tree):
    tree.create(group, ["memory"])
    tree.write(group, "memory.oom.group", "1")
    process = sleeper(program, "600")
    tree.join(group, process.pid)
    engine = run({"match": {"comm": NAME}, "in_place": {"memory.oom.group": 0}})
    assert tree.read(group, "memory.oom.group") == "0"
    engine.set_rules()
    engine.sweep()
    assert tree.read(group, "memory.oom.group") == "1"


def test_a_file_that_a_runtime_wrote_for_a_rule_is_given_back_when_the_rule_goes(run, program, sleeper, group, tree):
    tree.create(group, ["memory"])
    tree.write(group, "memory.oom.group", "0")
    tree.write(group, "memory.min", "8192")
    process = sleeper(program, "600")
    tree.join(group, process.pid)
    wanted = {"match": {"comm": NAME}, "in_place": {"memory.oom.group": 0, "memory.min": 8192}}
    engine = run(wanted)
    assert engine.table.files == {}  # it was in force
    rows = [
        FileRow(UNIFIED, group, "memory.oom.group", "1", "r1", written="0"),
        FileRow(UNIFIED, group, "memory.min", "0", "r1", written="4096"),  # somebody else chose since
        FileRow(UNIFIED, group, "memory.low", "4096", "gone since", written="0"),
        FileRow(UNIFIED, f"{group}/gone", "memory.low", "4096", "r1", written="0"),
    ]
    engine.engine.adopt_files(rows).result(60)
    noted = [replace(row, inode=tree.inode(group)) for row in (rows[2], rows[0])]
    assert sorted(engine.table.files.values(), key=lambda row: row.file) == noted
    engine.set_rules()
    engine.sweep()
    found = [tree.read(group, file) for file in ("memory.oom.group", "memory.min", "memory.low")]
    assert (found, engine.table.files) == (["1", "8192", "4096"], {})


def test_a_group_that_passes_controllers_on_is_refused(run, program, sleeper, group, tree):
    tree.create(f"{group}/leaf", ["memory"])
    process = sleeper(program, "600")
    engine = run(target(group))
    refusal = refusal_of(engine, process)
    assert refusal.reason is Reason.INTERNAL_PROCESS
    assert "choose a group below it" in refusal.detail
    assert engine.placement(process.pid).state is State.REFUSED


def test_a_group_that_begins_to_pass_controllers_on_between_plan_and_write_is_refused_by_the_kernel(
    run,
    program,
    sleeper,
    group,
    tree,
):
    tree.create(group, ["memory"])
    engine = run(target(group))
    engine.engine._loop.facts.groups[group]
    tree.create(f"{group}/leaf", ["memory"])
    process = sleeper(program, "600")
    engine.settle()
    refusal = refusal_of(engine, process)
    assert refusal.detail == (
        f"write {tree.at(group)}/cgroup.procs: device or resource busy; "
        "the group has controllers enabled for its children and takes no processes; use a group below it"
    )
    assert engine.happenings(process.pid) == [Happening.FAILED]


def test_a_domain_invalid_group_is_refused(run, program, sleeper, group, tree):
    tree.create(f"{group}/threaded")
    tree.create(f"{group}/other")
    tree.write(f"{group}/threaded", "cgroup.type", "threaded")
    process = sleeper(program, "600")
    engine = run(target(f"{group}/other"))
    assert refusal_of(engine, process).reason is Reason.THREADED


def test_a_threaded_group_takes_a_process_from_outside(run, program, sleeper, group, tree):
    tree.create(f"{group}/threaded")
    tree.write(f"{group}/threaded", "cgroup.type", "threaded")
    process = sleeper(program, "600")
    engine = run(target(f"{group}/threaded"))
    placement = engine.placement(process.pid)
    assert (group_of(process.pid, UNIFIED), placement.state) == (f"{group}/threaded", State.HELD)
    stop_process(process)  # a threaded group does not list its processes, so nobody could be put out of it


def test_a_limit_on_groups_below_is_named_when_a_target_cannot_be_made(run, program, sleeper, group, tree):
    tree.create(group)
    tree.write(group, "cgroup.max.descendants", "0")
    process = sleeper(program, "600")
    engine = run(target(f"{group}/a"))
    assert "cgroup.max.descendants or cgroup.max.depth above it is reached; raise it" in (
        refusal_of(engine, process).detail
    )


def test_a_frozen_group_is_refused_unless_the_rule_lifts_it(run, program, sleeper, group, tree):
    tree.create(group)
    tree.write(group, "cgroup.freeze", "1")
    process = sleeper(program, "600")
    engine = run(target(group))
    assert refusal_of(engine, process).reason is Reason.FROZEN
    engine.set_rules({**target(group), "allow_frozen": True})
    assert group_of(process.pid, UNIFIED) == group
    tree.write(group, "cgroup.freeze", "0")


def test_process_events_work_whatever_this_kernel_can_filter(run):
    engine = run()
    engine.settle()
    assert engine.engine.status().events == ""
    assert counter(engine.engine.metrics.feed) == 1


@pytest.mark.timeout(600)
@pytest.mark.parametrize("acts", [("rule", "drift", "no rule"), ("other rule", "stop")], ids=" then ".join)
def test_killed_at_every_boundary(acts, hierarchy, group, sleeper, program, tmp_path):
    test_engine_killed.test_whenever_it_is_killed_everything_can_be_given_back(
        acts, hierarchy, group, sleeper, program, tmp_path
    )


def test_a_process_whose_group_takes_none_in_a_threaded_subtree_is_back_in_the_one_above(
    run, program, sleeper, group, hierarchy
):
    tree = hierarchy.tree(UNIFIED)
    for path in (f"{group}/above/before", f"{group}/above/threaded", f"{group}/target"):
        tree.create(path)
    process = sleeper(program, "600")
    tree.join(f"{group}/above/before", process.pid)
    engine = run({"match": {"comm": NAME}, "cgroup": {"path": f"{group}/target"}})
    assert group_of(process.pid, UNIFIED) == f"{group}/target"
    tree.write(f"{group}/above/threaded", "cgroup.type", "threaded")
    assert tree.read(f"{group}/above/before", "cgroup.type") == "domain invalid"
    engine.set_rules()
    engine.sweep()
    assert (group_of(process.pid, UNIFIED), engine.rows()) == (f"{group}/above", [])


def test_a_set_of_cpus_that_was_empty_is_that_of_the_group_above_while_a_process_is_in_it(
    run, program, sleeper, group, hierarchy
):
    tree = hierarchy.tree(UNIFIED)
    tree.create(group, ["cpuset"])
    process = sleeper(program, "600")
    tree.join(group, process.pid)
    engine = run({"match": {"comm": NAME}, "in_place": {"cpuset.cpus": "0"}})
    assert tree.read(group, "cpuset.cpus") == "0"
    engine.set_rules()
    engine.sweep()
    assert (tree.read(group, "cpuset.cpus"), engine.rows()) == (tree.read("/", "cpuset.cpus.effective"), [])
