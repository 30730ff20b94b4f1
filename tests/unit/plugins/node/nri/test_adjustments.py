import msgspec
import pytest
from holdfast.node.model.process import HostFacts
from holdfast.node.plan.creation import ContainerAdjustment
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import Rule
from holdfast.plugins.node.nri import message
from holdfast.plugins.node.nri.adjustments import PlacementValues, for_runtime, pod_ref
from holdfast.plugins.node.placement.service import PlacementService
from holdfast.pods.record import ContainerRecord, PodRecord
from msgspec.structs import replace

V2 = HostFacts("boot", own_pid=999, memory_pages=1 << 20, controllers=frozenset({"memory"}))
UID = "0e2b3c4d-0000-1111-2222-333344445555"
SLICE = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"
POD = PodRecord(
    "s1", UID, "db", "pg-0", {"app": "pg"}, {"team": "a"}, f"/kubepods.slice/kubepods-burstable.slice/{SLICE}"
)
CONTAINER = ContainerRecord("c" * 64, "s1", "app", oom_score_adj=985, cgroups_path=f"{SLICE}:cri-containerd:{'c' * 64}")


class Engine:
    """As much of the engine as a creation asks about."""

    suspended = frozenset()

    def host_facts(self):
        return V2

    def status(self):
        return self


class Force:
    def __init__(self, *rules):
        self.rules = compile_rules(msgspec.convert(list(rules), list[Rule]))


def values_source(*rules):
    return PlacementValues(PlacementService(Engine(), Force(*rules), None))


PG = {"name": "pg", "match": {"pod": {"namespace": "db", "qos": "burstable"}, "cgroup": "/kubepods.slice/**"}}


async def test_a_rule_is_asked_about_the_pod_and_the_group_the_runtime_will_make():
    values = await values_source({**PG, "oom_score_adj": -500, "in_place": {"memory.oom.group": 0}}).at_creation(
        POD, CONTAINER
    )
    assert values == ContainerAdjustment("pg", -500, "", {"memory.oom.group": "0"})


async def test_a_rule_that_was_suspended_by_a_restore_gives_nothing(monkeypatch):
    monkeypatch.setattr(Engine, "suspended", frozenset({"pg"}))
    assert await values_source({**PG, "oom_score_adj": -500}).at_creation(POD, CONTAINER) is None


async def test_without_rules_there_are_no_wishes():
    assert await values_source().at_creation(POD, CONTAINER) is None
    assert await PlacementValues(None).at_creation(POD, CONTAINER) is None


@pytest.mark.parametrize("parent", [POD.cgroup_parent, SLICE, f"/kubepods/burstable/pod{UID}"])
def test_the_quality_of_service_is_read_from_the_pods_group(parent):
    ref = pod_ref(_with(parent), CONTAINER)
    assert (ref.qos, ref.uid, ref.container, ref.namespace) == ("burstable", UID, "app", "db")


@pytest.mark.parametrize("parent", ["", "/elsewhere", "machine.slice"])
def test_a_group_that_is_not_the_kubelets_tells_no_quality_of_service(parent):
    assert pod_ref(_with(parent), CONTAINER).qos == ""


def _with(parent):
    return replace(POD, cgroup_parent=parent)


C = ContainerRecord("c1", "s1", "app", oom_score_adj=985, cgroups_path="/kubepods/burstable/podU/c1")


def made(adj=None, group="", settings=None, container=C, lowest=-1000):
    return for_runtime(ContainerAdjustment("r", adj, group, settings or {}), container, {}, lowest)


def annotation(adjustment, container=C):
    return dict(message.adjust(adjustment, container).annotations)[message.ANNOTATION]


@pytest.mark.parametrize(
    ("wished", "answered"),
    [(-500, -500), (0, 0), (1000, 1000), (5000, 1000), (-5000, -1000), (985, None), (None, None)],
)
def test_an_adjustment_is_in_range_and_says_only_what_is_not_so(wished, answered):
    assert made(wished).oom_score_adj == answered


def test_a_value_the_runtime_may_not_write_is_not_asked_of_it():
    assert not made(-1, lowest=0).anything
    assert made(0, lowest=0).oom_score_adj == 0
    assert made(-1, settings={"memory.oom.group": "0"}, lowest=0).settings == {"memory.oom.group": "0"}


def test_zero_for_a_container_that_has_no_value_is_something_to_say():
    unset = replace(C, oom_score_adj=None)
    assert made(0, container=unset).anything
    assert annotation(made(0, container=unset), unset) == "rule=r oom_score_adj=0 asked=unset"


def test_the_annotation_tells_what_was_given_and_what_was_asked_for():
    given = made(-500, "/holdfast/db", {"memory.oom.group": "0"})
    assert given == ContainerAdjustment("r", -500, "/holdfast/db/c1", {"memory.oom.group": "0"})
    assert annotation(given) == "rule=r oom_score_adj=-500 asked=985 cgroup=/holdfast/db/c1 memory.oom.group=0"


def test_the_systemd_driver_knows_slices_so_a_group_is_left_to_the_engine():
    systemd = replace(C, cgroups_path="kubepods-podU.slice:cri-containerd:c1")
    assert not made(group="/holdfast/db", container=systemd).anything
