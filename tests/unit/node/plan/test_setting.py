from __future__ import annotations

import pytest
from holdfast.errors import InvalidArgument, NoEquivalent
from holdfast.node.plan.cgroup_versions import ONLY_V1, ONLY_V2, TO_V1, TO_V2, shares_of_weight, weight_of_shares
from holdfast.node.plan.setting import is_in_force, lines_for, restoring
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("name", "value", "v1", "v2"),
    [
        ("memory.max", "256Mi", [("memory.limit_in_bytes", "268435456")], [("memory.max", "268435456")]),
        ("memory.max", "max", [("memory.limit_in_bytes", "-1")], [("memory.max", "max")]),
        ("memory.limit_in_bytes", "1G", [("memory.limit_in_bytes", "1000000000")], [("memory.max", "1000000000")]),
        ("memory.limit_in_bytes", -1, [("memory.limit_in_bytes", "-1")], [("memory.max", "max")]),
        ("memory.low", "64Ki", [("memory.soft_limit_in_bytes", "65536")], [("memory.low", "65536")]),
        ("cpu.weight", 100, [("cpu.shares", "1024")], [("cpu.weight", "100")]),
        ("cpu.shares", 1024, [("cpu.shares", "1024")], [("cpu.weight", "100")]),
        (
            "cpu.max",
            "50000 100000",
            [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")],
            [("cpu.max", "50000 100000")],
        ),
        ("cpu.max", "max", [("cpu.cfs_quota_us", "-1")], [("cpu.max", "max")]),
        ("cpu.cfs_quota_us", -1, [("cpu.cfs_quota_us", "-1")], [("cpu.max", "max 100000")]),
        ("pids.max", 100, [("pids.max", "100")], [("pids.max", "100")]),
        ("cpuset.cpus", "0-1", [("cpuset.cpus", "0-1")], [("cpuset.cpus", "0-1")]),
        ("io.weight", 10000, [("blkio.bfq.weight", "1000")], [("io.weight", "10000")]),
        ("blkio.weight", 10, [("blkio.weight", "10")], [("io.weight", "1")]),
        (
            "io.max",
            ("8:0 rbps=1048576 wiops=max", "8:16 riops=5"),
            [
                ("blkio.throttle.read_bps_device", "8:0 1048576"),
                ("blkio.throttle.write_iops_device", "8:0 0"),
                ("blkio.throttle.read_iops_device", "8:16 5"),
            ],
            [("io.max", "8:0 rbps=1048576 wiops=max\n8:16 riops=5")],
        ),
        (
            "blkio.throttle.write_bps_device",
            "8:0 0",
            [("blkio.throttle.write_bps_device", "8:0 0")],
            [("io.max", "8:0 wbps=max")],
        ),
        ("hugetlb.2MB.max", "4Mi", [("hugetlb.2MB.limit_in_bytes", "4194304")], [("hugetlb.2MB.max", "4194304")]),
        ("cgroup.freeze", 1, [("freezer.state", "FROZEN")], [("cgroup.freeze", "1")]),
        ("freezer.state", "thawed", [("freezer.state", "THAWED")], [("cgroup.freeze", "0")]),
        ("hugetlb.1GB.rsvd.max", "max", [("hugetlb.1GB.rsvd.limit_in_bytes", "-1")], [("hugetlb.1GB.rsvd.max", "max")]),
    ],
)
def test_a_setting_is_said_in_each_versions_words(name, value, v1, v2):
    assert list(lines_for(name, value, {name: value}, v2=False)) == v1
    assert list(lines_for(name, value, {name: value}, v2=True)) == v2


@pytest.mark.parametrize(
    ("name", "value", "beside", "v2", "expected"),
    [
        ("memory.swap.max", "1Gi", {"memory.max": "1Gi"}, False, [("memory.memsw.limit_in_bytes", "2147483648")]),
        ("memory.swap.max", "max", {}, False, [("memory.memsw.limit_in_bytes", "-1")]),
        ("memory.memsw.limit_in_bytes", "3Gi", {"memory.max": "1Gi"}, True, [("memory.swap.max", "2147483648")]),
        ("cpu.cfs_quota_us", 20000, {"cpu.cfs_period_us": 50000}, True, [("cpu.max", "20000 50000")]),
        ("cpu.cfs_period_us", 50000, {"cpu.cfs_quota_us": 20000}, True, []),
    ],
)
def test_some_settings_need_their_neighbour(name, value, beside, v2, expected):
    assert list(lines_for(name, value, {**beside, name: value}, v2=v2)) == expected


@pytest.mark.parametrize(
    ("name", "value", "v2", "nearest"),
    [
        ("memory.min", 5, False, "memory.soft_limit_in_bytes"),
        ("memory.high", 5, False, "memory.limit_in_bytes"),
        ("memory.oom.group", 1, False, "memory.oom_control"),
        ("memory.oom_control", 1, True, "memory.oom.group"),
        ("memory.swappiness", 5, True, "memory.swap.max"),
        ("memory.swap.max", 5, False, "memory.max"),
        ("cpu.cfs_period_us", 5000, True, "cpu.cfs_quota_us"),
        ("cpu.rt_runtime_us", 5, True, "no realtime"),
    ],
)
def test_what_has_no_equal_is_refused_with_the_nearest_name(name, value, v2, nearest):
    with pytest.raises(NoEquivalent) as refused:
        lines_for(name, value, {name: value}, v2=v2)
    assert nearest in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "v2"),
    [
        ("memory.max", "much", True),
        ("memory.max", "-5", False),
        ("cpu.shares", 1, True),
        ("cpu.weight", 0, False),
        ("cpu.max", "1 2 3", False),
        ("io.max", "8:0 speed=1", False),
        ("blkio.throttle.read_bps_device", "8:0", True),
        ("freezer.state", "cold", True),
        ("cgroup.procs", "1", True),
        ("memory.memsw.limit_in_bytes", "1Mi", True),
    ],
)
def test_a_value_that_is_none_is_refused(name, value, v2):
    with pytest.raises(InvalidArgument):
        lines_for(name, value, {name: value, "memory.limit_in_bytes": "2Mi"}, v2=v2)


def test_no_name_stands_in_two_tables():
    assert not set(TO_V2) & set(ONLY_V1)
    assert not set(TO_V1) & set(ONLY_V2)
    assert not set(TO_V1) & set(TO_V2)


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 100), (262144, 10000)])
def test_lowest_default_and_highest_shares_meet_their_weights(shares, weight):
    assert weight_of_shares(shares) == weight
    assert shares_of_weight(weight) == shares


@pytest.mark.parametrize(("shares", "weight"), [(102, 17), (512, 59), (2048, 174), (8192, 532), (10240, 639)])
def test_shares_are_the_weight_that_container_runtimes_make_of_them(shares, weight):
    assert weight_of_shares(shares) == weight


def test_every_weight_comes_back_from_its_shares():
    weights = range(1, 10_001)
    assert [weight_of_shares(shares_of_weight(weight)) for weight in weights] == list(weights)


@given(st.integers(2, 262143))
def test_more_shares_are_never_less_weight_and_one_more_than_a_weights_shares_is_more_weight(shares):
    weight = weight_of_shares(shares)
    assert weight <= weight_of_shares(shares + 1)
    assert weight_of_shares(shares_of_weight(weight) + 1) > weight or weight == 10000


@pytest.mark.parametrize(
    ("file", "wanted", "now", "expected"),
    [
        ("memory.max", "1000000", "999424", True),
        ("memory.max", "max", "max", True),
        ("memory.max", "4096", "max", False),
        ("memory.limit_in_bytes", "-1", "9223372036854771712", True),
        ("memory.limit_in_bytes", "4096", "9223372036854771712", False),
        ("io.weight", "200", "default 200", True),
        ("io.weight", "8:0 50", "default 200\n8:0 50", True),
        ("io.weight", "8:0 50", "default 50", False),
        ("io.max", "8:0 rbps=5", "8:0 rbps=5 wbps=max riops=max wiops=max", True),
        ("io.max", "8:0 rbps=5 wiops=7", "8:0 rbps=5 wbps=max riops=max wiops=max", False),
        ("io.max", "8:0 rbps=max", "", True),
        ("blkio.throttle.read_bps_device", "8:0 0", "", True),
        ("blkio.throttle.read_bps_device", "8:0 9", "8:16 9", False),
        ("cpu.max", "max 100000", "max 100000", True),
        ("cpu.max", "50000", "50000 100000", True),
        ("cpu.max", "max", "max 100000", True),
        ("cpu.max", "50000", "60000 100000", False),
        ("cpu.max", "50000 20000", "50000 100000", False),
        ("cpu.uclamp.min", "20", "20.00", True),
        ("cpu.uclamp.min", "12.5", "12.50", True),
        ("cpu.uclamp.max", "max", "max", True),
        ("cpu.uclamp.max", "90", "max", False),
        ("cpuset.cpus", "0,1", "0-1", True),
        ("cpuset.cpus", "3,0-1", "0-1,3", True),
        ("cpuset.mems", "0-0", "0", True),
        ("cpuset.cpus", "0-1", "0", False),
        ("cpuset.cpus", "0", "", False),
        ("cpuset.cpus.partition", "root", "root invalid (Cpu list in cpuset.cpus not exclusive)", True),
        ("cpuset.cpus.partition", "root", "member", False),
        ("memory.oom_control", "1", "oom_kill_disable 1\nunder_oom 0\noom_kill 0", True),
        ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0", False),
        ("freezer.state", "FROZEN", "FREEZING", True),
        ("freezer.state", "FROZEN", "THAWED", False),
        ("hugetlb.2MB.max", "3145728", "2097152", True),
        ("hugetlb.2MB.max", "6291456", "2097152", False),
        ("cpu.weight", "100", "101", False),
        ("cpu.weight", "100", None, False),
    ],
)
def test_what_the_kernel_rounds_or_spells_its_way_is_in_force(file, wanted, now, expected):
    assert is_in_force(file, wanted, now, 4096) is expected


@pytest.mark.parametrize(
    ("file", "before", "ours", "text"),
    [
        ("cpu.max", "max 100000", [""], "max 100000"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3", [""], "0"),
        ("blkio.throttle.read_bps_device", "", ["8:0"], "8:0 0"),
        ("blkio.throttle.read_bps_device", "8:0 5\n8:16 7", ["8:0"], "8:0 5"),
        ("io.max", "", ["8:0 rbps", "8:0 wiops"], "8:0 rbps=max\n8:0 wiops=max"),
        ("io.max", "8:0 rbps=5 wbps=max riops=max wiops=9", ["8:0 wiops"], "8:0 wiops=9"),
        ("io.latency", "", ["8:0 target"], "8:0 target=max"),
        ("io.weight", "default 100", ["", "8:0"], "100\n8:0 default"),
        ("blkio.weight_device", "", ["8:0"], "8:0 0"),
        ("misc.max", "res_a max", ["res_a"], "res_a max"),
        ("net_prio.ifpriomap", "lo 0\neth0 2", ["eth0"], "eth0 2"),
    ],
)
def test_the_text_that_restores_a_file_is_one_that_the_kernel_takes(file, before, ours, text):
    assert restoring(file, before, ours) == text
