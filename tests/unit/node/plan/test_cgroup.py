from __future__ import annotations

from types import MappingProxyType

import pytest
from holdfast.errors import ConfigError
from holdfast.node.model.decision import Field, MoveChange, Reason, SettingChange
from holdfast.node.model.process import GroupFacts
from holdfast.node.plan.plan import plan
from holdfast.pods.cgroup_path import PodRef

from tests.fakes.placement import process, rules, v1_host, v1_process, v2_host

POD_GROUP = "/kubepods/burstable/pod3f2c1a90-0b7e-4c52-9d5e-8a1f6b7c2d3e/" + "a" * 64
GIB = 262144  # pages


def move(**given):
    return rules({"match": {"comm": "*"}, **given})


def reasons(decision):
    return [refusal.reason for refusal in decision.refusals]


def test_on_v2_there_is_one_move_and_the_settings_come_first():
    decision = plan(process(), move(cgroup={"path": "/db", "settings": {"memory.low": "1Mi"}}), v2_host())
    assert decision.changes == (
        SettingChange(None, "1048576", "/db", "memory.low", create=True),
        MoveChange("/system.slice/a.service", "/db", create=True),
    )


def test_on_v1_it_moves_in_every_hierarchy_with_controllers_and_in_no_other():
    decision = plan(v1_process(), move(cgroup={"path": "/db"}), v1_host())
    assert [change.hierarchy for change in decision.changes] == ["cpu,cpuacct", "cpuset", "memory", "pids"]


@pytest.mark.parametrize("action", [{"cgroup": {"path": "/db"}}, {"in_place": {"memory.low": "1Mi"}}])
def test_without_a_cgroup_tree_it_is_refused_with_the_remedy(action):
    decision = plan(process(), move(**action), v2_host(hierarchies=()))
    assert (decision.changes, reasons(decision)) == ((), [Reason.NO_CONTROLLER])
    assert "mount the host's /sys/fs/cgroup" in decision.refusals[0].detail


def test_on_v1_the_rule_may_name_controllers_and_comounted_ones_are_one_move():
    book = move(cgroup={"path": "/db", "controllers": ["cpu", "cpuacct", "name=systemd", "rdma"]})
    decision = plan(v1_process(), book, v1_host())
    assert [change.hierarchy for change in decision.changes] == ["cpu,cpuacct", "name=systemd"]
    assert reasons(decision) == [Reason.NO_CONTROLLER]
    assert "rdma" in decision.refusals[0].detail


def test_what_is_already_there_is_not_moved_and_settings_in_force_are_not_written():
    settings = {"memory.max": "1Mi", "cpu.weight": 100}
    host = v2_host(groups={"/db": GroupFacts(values={"memory.max": "1048576", "cpu.weight": "50"})})
    decision = plan(process(cgroups={"": "/db"}), move(cgroup={"path": "/db", "settings": settings}), host)
    assert decision.changes == (SettingChange("50", "100", "/db", "cpu.weight"),)


def test_on_v1_only_the_hierarchies_it_is_not_in_yet_are_moved():
    some = process(cgroups={**dict.fromkeys(("cpu,cpuacct", "cpuset", "pids"), "/db"), "memory": "/"})
    decision = plan(some, move(cgroup={"path": "/db"}), v1_host(groups={"/db": GroupFacts()}))
    assert [(change.hierarchy, change.before) for change in decision.changes] == [("memory", "/")]


def test_settings_go_to_the_hierarchy_of_their_controller():
    settings = {"cpu.weight": 100, "memory.max": "1Gi"}
    decision = plan(v1_process(), move(cgroup={"path": "/db", "settings": settings}), v1_host())
    written = [(c.hierarchy, c.file, c.after) for c in decision.changes if c.field is Field.SETTING]
    assert written == [("cpu,cpuacct", "cpu.shares", "1024"), ("memory", "memory.limit_in_bytes", "1073741824")]


@pytest.mark.parametrize(
    ("settings", "host", "reason", "words"),
    [
        ({"memory.min": "1Mi"}, v1_host(), Reason.NO_EQUIVALENT, ["memory.min", "v1", "memory.soft_limit_in_bytes"]),
        ({"memory.swappiness": 1}, v2_host(), Reason.NO_EQUIVALENT, ["memory.swappiness", "v2", "memory.swap.max"]),
        (
            {"memory.limit_in_bytes": "2Mi", "memory.memsw.limit_in_bytes": "1Mi"},
            v2_host(),
            Reason.BAD_VALUE,
            ["memory.memsw.limit_in_bytes", "less than the memory limit"],
        ),
        ({"rdma.max": "mlx4_0 hca_handle=2"}, v1_host(), Reason.NO_CONTROLLER, ["rdma"]),
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_the_move_goes_on(settings, host, reason, words):
    some = process() if host.is_v2 else v1_process()
    decision = plan(some, move(cgroup={"path": "/db", "settings": settings}), host)
    assert reasons(decision) == [reason]
    assert all(word in decision.refusals[0].detail for word in words)
    assert any(change.field is Field.CGROUP for change in decision.changes)


def test_a_setting_of_a_hierarchy_the_rule_does_not_move_in_is_refused():
    book = move(cgroup={"path": "/db", "controllers": ["pids"], "settings": {"memory.max": 1}})
    assert reasons(plan(v1_process(), book, v1_host())) == [Reason.NO_CONTROLLER]


class TestInPlace:
    BOOK = move(in_place={"memory.oom.group": 0})

    def test_it_writes_to_the_group_the_process_is_in(self):
        (change,) = plan(process(cgroups={"": "/x"}), self.BOOK, v2_host()).changes
        assert change == SettingChange(None, "0", "/x", "memory.oom.group")

    def test_the_root_group_has_no_such_file(self):
        assert reasons(plan(process(cgroups={"": "/"}), self.BOOK, v2_host())) == [Reason.ROOT_GROUP]

    def test_on_v1_it_has_no_equal(self):
        assert reasons(plan(v1_process(), self.BOOK, v1_host())) == [Reason.NO_EQUIVALENT]


class TestLeavingAPod:
    SOME = process(cgroups={"": POD_GROUP}, pod=PodRef("u", "burstable", "c"))

    def test_it_is_refused_and_the_adjustment_is_not(self):
        decision = plan(self.SOME, move(oom_score_adj=5, cgroup={"path": "/db"}), v2_host())
        assert reasons(decision) == [Reason.LEAVE_KUBEPODS]
        assert [change.field for change in decision.changes] == [Field.OOM_SCORE_ADJ]
        assert "leave_kubepods: true" in decision.refusals[0].detail

    def test_its_own_key_lifts_it(self):
        assert len(plan(self.SOME, move(cgroup={"path": "/db"}, leave_kubepods=True), v2_host()).changes) == 1

    def test_a_group_inside_the_containers_own_does_not_leave(self):
        assert reasons(plan(self.SOME, move(cgroup={"path": POD_GROUP + "/inner"}), v2_host())) == []

    def test_a_pod_is_known_by_its_path_when_nobody_looked_it_up(self):
        assert reasons(plan(process(cgroups={"": POD_GROUP}), move(cgroup={"path": "/db"}), v2_host())) == [
            Reason.LEAVE_KUBEPODS
        ]


class TestLeavingLimits:
    UNIT = "/system.slice/a.service"
    LIMITS = MappingProxyType({"memory.max": "536870912", "pids.max": "100", "cpu.max": "max 100000", "io.max": ""})

    def plan(self, group, *, path="/db", host=None, **given):
        host = host or v2_host(groups={self.UNIT: GroupFacts(values=self.LIMITS)})
        return plan(process(cgroups={"": group}), move(cgroup={"path": path}, **given), host)

    def test_it_is_refused_with_the_numbers_and_the_key_that_lifts_it(self):
        decision = self.plan(self.UNIT)
        assert (reasons(decision), decision.changes) == ([Reason.LEAVE_LIMITS], ())
        detail = decision.refusals[0].detail
        assert "memory.max 512Mi, pids.max 100 of /system.slice/a.service" in detail
        assert "leave_limits: true" in detail

    def test_its_own_key_lifts_it_and_the_move_says_what_is_lost(self):
        (change,) = self.plan(self.UNIT, leave_limits=True).changes
        assert change.lost == "memory.max 512Mi, pids.max 100 of /system.slice/a.service"

    def test_the_adjustment_is_not_refused(self):
        assert [c.field for c in self.plan(self.UNIT, oom_score_adj=5).changes] == [Field.OOM_SCORE_ADJ]

    def test_limits_of_the_groups_above_count(self):
        slices = {"/docker": GroupFacts(values={"memory.high": "1048577"}), "/docker/c": GroupFacts()}
        decision = self.plan("/docker/c", host=v2_host(groups=slices))
        assert "memory.high 1048577 of /docker" in decision.refusals[0].detail

    @pytest.mark.parametrize("path", ["/system.slice/a.service/inner", "/system.slice/a.service/x/y"])
    def test_a_target_below_the_group_keeps_its_limits(self, path):
        assert reasons(self.plan(self.UNIT, path=path)) == []

    def test_what_the_target_is_under_as_well_is_not_left(self):
        slices = {"/a.slice": GroupFacts(values={"memory.max": "4096"}), "/a.slice/b": GroupFacts()}
        assert reasons(self.plan("/a.slice/b", path="/a.slice/c", host=v2_host(groups=slices))) == []

    def test_without_a_limit_nothing_is_in_the_way(self):
        none = {"memory.max": "max", "pids.max": "max", "cpu.max": "max 100000", "memory.min": "4096"}
        assert reasons(self.plan("/a", host=v2_host(groups={"/a": GroupFacts(values=none)}))) == []

    def test_a_pod_has_a_key_of_its_own(self):
        some = process(cgroups={"": POD_GROUP}, pod=PodRef("u", "burstable", "c"))
        host = v2_host(groups={POD_GROUP: GroupFacts(values=self.LIMITS)})
        assert reasons(plan(some, move(cgroup={"path": "/db"}, leave_limits=True), host)) == [Reason.LEAVE_KUBEPODS]
        (change,) = plan(some, move(cgroup={"path": "/db"}, leave_kubepods=True), host).changes
        assert change.lost.startswith("memory.max 512Mi, pids.max 100 of /kubepods")

    def test_on_v1_each_hierarchy_has_its_own_limits(self):
        values = {
            "memory.limit_in_bytes": "1048576",
            "memory.memsw.limit_in_bytes": "9223372036854771712",
            "cpu.cfs_quota_us": "-1",
            "pids.max": "7",
            "cpuset.cpus": "0-1",
            "cpuset.mems": "0",
        }
        root = GroupFacts(values={"cpuset.cpus": "0-3", "cpuset.mems": "0"})
        host = v1_host(groups={"/": root, "/a": GroupFacts(cpus="0-1", mems="0", values=values)})
        (refusal,) = plan(v1_process(group="/a"), move(cgroup={"path": "/db"}), host).refusals
        for said in ("memory.limit_in_bytes 1Mi of /a", "pids.max 7 of /a", "cpuset.cpus 0-1 of /a"):
            assert said in refusal.detail
        assert "mems" not in refusal.detail
        only_cpu = move(cgroup={"path": "/db", "controllers": ["cpu"]})
        assert reasons(plan(v1_process(group="/a"), only_cpu, host)) == []


class TestTheTarget:
    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            (GroupFacts(memory_limit=1048576), Reason.MEMORY_LIMIT),
            (GroupFacts(frozen=True), Reason.FROZEN),
            (GroupFacts(type="domain invalid"), Reason.THREADED),
            (GroupFacts(subtree_control=("memory",)), Reason.INTERNAL_PROCESS),
        ],
    )
    def test_one_that_would_hurt_or_refuse_is_refused_beforehand(self, facts, reason):
        decision = plan(process(rss_pages=GIB), move(cgroup={"path": "/db"}), v2_host(groups={"/db": facts}))
        assert (reasons(decision), decision.changes) == ([reason], ())

    def test_the_numbers_are_in_the_refusal(self):
        host = v2_host(groups={"/db": GroupFacts(memory_limit=1048576)})
        (refusal,) = plan(process(rss_pages=GIB), move(cgroup={"path": "/db"}), host).refusals
        assert "1024.0 MiB" in refusal.detail
        assert "1.0 MiB" in refusal.detail

    def test_the_limit_the_rule_itself_sets_counts(self):
        host = v2_host(groups={"/db": GroupFacts(memory_limit=1048576)})
        roomy = move(cgroup={"path": "/db", "settings": {"memory.max": "2Gi"}})
        tight = move(cgroup={"path": "/new", "settings": {"memory.max": "2Mi"}})
        assert reasons(plan(process(rss_pages=GIB), roomy, host)) == []
        assert reasons(plan(process(rss_pages=GIB), tight, host)) == [Reason.MEMORY_LIMIT]

    def test_each_interlock_has_its_own_key(self):
        host = v2_host(groups={"/db": GroupFacts(memory_limit=1048576, frozen=True)})
        book = move(cgroup={"path": "/db"}, allow_small_limit=True, allow_frozen=True)
        assert reasons(plan(process(rss_pages=GIB), book, host)) == []

    def test_an_empty_cpuset_is_refused_on_v1_unless_the_rule_fills_it(self):
        host = v1_host(groups={"/db": GroupFacts(cpus="", mems="0")})
        assert reasons(plan(v1_process(), move(cgroup={"path": "/db"}), host)) == [Reason.CPUSET]
        filled = move(cgroup={"path": "/db", "settings": {"cpuset.cpus": "0"}})
        assert reasons(plan(v1_process(), filled, host)) == []
        elsewhere = move(cgroup={"path": "/db", "controllers": ["memory"]})
        assert reasons(plan(v1_process(), elsewhere, host)) == []

    def test_a_container_that_was_created_in_the_target_is_there_in_a_group_of_its_own(self):
        born = process(cgroups={"": "/holdfast/db/c"}, pod=PodRef("u", "burstable", "c"))
        other = process(cgroups={"": "/holdfast/db/d"}, pod=PodRef("u", "burstable", "c"))
        book = move(cgroup={"path": "/holdfast/db", "settings": {"memory.min": "1Gi"}})
        fields = [[change.field for change in plan(some, book, v2_host()).changes] for some in (born, other)]
        assert fields == [[Field.SETTING], [Field.SETTING, Field.CGROUP]]

    def test_a_process_that_is_there_already_is_not_asked_again(self):
        host = v2_host(groups={"/db": GroupFacts(memory_limit=1, frozen=True)})
        assert plan(process(cgroups={"": "/db"}, rss_pages=GIB), move(cgroup={"path": "/db"}), host).refusals == ()


class TestItsOwnGroup:
    """holdfast is in a group as well: what would stop or limit that one, or one above it, is refused."""

    OWN = "/holdfast/daemon"

    @pytest.mark.parametrize("group", [OWN, "/holdfast"])
    @pytest.mark.parametrize("setting", [{"cgroup.freeze": 1}, {"memory.max": "1Mi"}, {"pids.max": 1}])
    def test_is_neither_frozen_nor_limited(self, group, setting):
        host = v2_host(own_groups={"": self.OWN})
        moved = plan(process(), move(cgroup={"path": group, "settings": setting}), host)
        in_place = plan(process(cgroups={"": group}), move(in_place=setting), host)
        for decision in (moved, in_place):
            assert reasons(decision) == [Reason.SELF]
            assert not any(change.field is Field.SETTING for change in decision.changes)

    def test_on_v1_is_told_by_the_hierarchy_of_the_file(self):
        host = v1_host(own_groups={"memory": self.OWN, "pids": "/elsewhere"})
        decision = plan(
            v1_process(), move(cgroup={"path": self.OWN, "settings": {"pids.max": 1, "memory.max": 1}}), host
        )
        assert reasons(decision) == [Reason.SELF]
        assert {change.file for change in decision.changes if isinstance(change, SettingChange)} == {"pids.max"}

    @pytest.mark.parametrize(("path", "setting"), [(OWN, {"memory.min": "1Mi"}), ("/holdfast/d", {"memory.max": 1})])
    def test_may_be_kept_and_its_neighbours_may_be_limited(self, path, setting):
        host = v2_host(own_groups={"": self.OWN})
        assert not plan(
            process(), move(cgroup={"path": path, "settings": setting}, allow_small_limit=True), host
        ).refusals


class TestGroupsThatTheNodeDependsOn:
    """To freeze or limit the runtime's unit, or what all pods are in, needs the rule's own word for it."""

    NODE = (
        "/system.slice",
        "/system.slice/containerd.service",
        "/kubepods.slice",
        "/kubepods/burstable",
        "/init.scope",
    )
    OTHERS = (
        "/system.slice/nginx.service",
        "/kubepods/burstable/podu/c",
        "/batch",
        "/system.slice/containerd.service/x",
    )

    @pytest.mark.parametrize("setting", [{"cgroup.freeze": 1}, {"memory.max": "1Mi"}, {"cpu.max": "1000 100000"}])
    @pytest.mark.parametrize("group", NODE)
    def test_are_neither_frozen_nor_limited_where_a_match_is_in_one(self, group, setting):
        inside = process(cgroups={"": group})
        refused = plan(inside, move(in_place=setting), v2_host())
        assert (reasons(refused), refused.changes) == ([Reason.NODE_GROUP], ())
        assert "limit_node_groups: true lifts this" in refused.refusals[0].detail
        assert plan(inside, move(in_place=setting, limit_node_groups=True), v2_host()).refusals == ()

    @pytest.mark.parametrize("setting", [{"cgroup.freeze": 0}, {"memory.max": "max"}, {"cpu.weight": 100}])
    def test_may_be_thawed_have_their_limits_ended_or_a_weight(self, setting):
        assert plan(process(cgroups={"": self.NODE[1]}), move(in_place=setting), v2_host()).refusals == ()

    @pytest.mark.parametrize("group", OTHERS)
    def test_are_named_exactly_so_that_others_may_be_limited(self, group):
        assert plan(process(cgroups={"": group}), move(in_place={"memory.max": "1Mi"}), v2_host()).refusals == ()

    @pytest.mark.parametrize("group", NODE)
    def test_are_refused_as_a_target_when_the_rule_is_loaded(self, group):
        target = {"path": group, "settings": {"pids.max": 10}}
        with pytest.raises(
            ConfigError, match=r"cgroup.settings: pids.max: the node depends on .*limit_node_groups: true"
        ):
            move(cgroup=target)
        assert move(cgroup=target, limit_node_groups=True)
        assert move(cgroup={**target, "settings": {"cpu.weight": 10}})
