import msgspec
import pytest
from holdfast.node.model.process import HostFacts
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import Rule
from holdfast.plugins.node.nri.adjustments import NoRuleValues, PlacementValues, pod_ref
from holdfast.plugins.node.placement.service import PlacementService
from holdfast.pods.nri import RuleValues, RuntimeContainer, Sandbox

V2 = HostFacts("boot", own_pid=999, memory_pages=1 << 20, controllers=frozenset({"memory"}))
UID = "0e2b3c4d-0000-1111-2222-333344445555"
SLICE = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"
POD = Sandbox(
    "s1", UID, "db", "pg-0", {"app": "pg"}, {"team": "a"}, f"/kubepods.slice/kubepods-burstable.slice/{SLICE}"
)
CONTAINER = RuntimeContainer(
    "c" * 64, "s1", "app", oom_score_adj=985, cgroups_path=f"{SLICE}:cri-containerd:{'c' * 64}"
)


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
    assert values == RuleValues("pg", -500, "", {"memory.oom.group": "0"})


async def test_a_rule_that_was_suspended_by_a_restore_gives_nothing(monkeypatch):
    monkeypatch.setattr(Engine, "suspended", frozenset({"pg"}))
    assert await values_source({**PG, "oom_score_adj": -500}).at_creation(POD, CONTAINER) is None


async def test_without_rules_there_are_no_wishes():
    assert await values_source().at_creation(POD, CONTAINER) is None
    assert await NoRuleValues().at_creation(POD, CONTAINER) is None


@pytest.mark.parametrize("parent", [POD.cgroup_parent, SLICE, f"/kubepods/burstable/pod{UID}"])
def test_the_quality_of_service_is_read_from_the_pods_group(parent):
    ref = pod_ref(_with(parent), CONTAINER)
    assert (ref.qos, ref.uid, ref.container, ref.namespace) == ("burstable", UID, "app", "db")


@pytest.mark.parametrize("parent", ["", "/elsewhere", "machine.slice"])
def test_a_group_that_is_not_the_kubelets_tells_no_quality_of_service(parent):
    assert pod_ref(_with(parent), CONTAINER).qos == ""


def _with(parent):
    return Sandbox(POD.id, POD.uid, POD.namespace, POD.name, POD.labels, POD.annotations, parent)
