"""The closed list of files that a rule may write."""

from __future__ import annotations

import pytest
from holdfast.errors import ConfigError, InvalidArgument
from holdfast.node.plan.cgroup_versions import ONLY_V1, ONLY_V2, TO_V1, TO_V2
from holdfast.node.rule.file import read_bundle, read_rules
from holdfast.node.rule.setting import (
    SETTINGS,
    SIZE_OF_PAGE,
    check_settings,
    controller_of,
    limits_of,
    parts_of,
    setting_named,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.placement import rules

#: What else there is in a group's directory, or may be reached from it.
NOT_SETTINGS = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.kill",
    "cgroup.subtree_control",
    "cgroup.type",
    "cgroup.clone_children",
    "cgroup.event_control",
    "tasks",
    "release_agent",
    "notify_on_release",
    "devices.allow",
    "devices.deny",
    "memory.reclaim",
    "memory.force_empty",
    "memory.current",
    "cpu.stat",
    "../../../../proc/sys/kernel/core_pattern",
    "../memory.max",
    "child/memory.max",
    "/etc/shadow",
    "..",
    ".",
    "",
    "memory.max\n",
    "memory.max\0",
    " memory.max",
    "MEMORY.MAX",
    "hugetlb.SIZE.max",
    "hugetlb.2MB/../../x.max",
    "hugetlb.2MB.events",
]


@pytest.mark.parametrize("name", NOT_SETTINGS)
@pytest.mark.parametrize("key", ["in_place", "cgroup"])
def test_what_is_not_on_the_list_is_refused_in_one_line_that_names_the_key(name, key):
    settings = {name: "1"}
    rule = {"match": {"comm": "x"}, key: settings if key == "in_place" else {"path": "/a", "settings": settings}}
    with pytest.raises(ConfigError) as refused:
        rules(rule)
    assert f'rule "r1": {"in_place" if key == "in_place" else "cgroup.settings"}: ' in str(refused.value)
    assert str(refused.value).isprintable()


@given(st.text(max_size=40))
def test_every_other_name_is_refused(name):
    if name in SETTINGS and SIZE_OF_PAGE not in name:
        return
    if name.startswith("hugetlb."):
        return
    with pytest.raises(InvalidArgument):
        setting_named(name)


def test_every_name_is_one_component_of_a_path():
    assert all("/" not in name and ".." not in name and name.isprintable() for name in SETTINGS)


@pytest.mark.parametrize("name", ["../../../../etc/shadow", "cgroup.procs"])
def test_a_text_of_rules_is_refused_from_wherever_it_comes(name):
    text = f'- {{name: tuning, match: {{comm: sleep}}, in_place: {{"{name}": "x"}}}}\n'
    with pytest.raises(ConfigError, match="is no setting"):
        read_rules(text, "the rules sent")
    with pytest.raises(ConfigError, match=r"rules.yaml:1: .*is no setting"):
        read_bundle([("rules.yaml", text)])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("memory.max", "50%", "write a number of bytes, 256Mi"),
        ("memory.max", "lots", "is not a size"),
        ("memory.max", "-5", "is not a size"),
        ("cpu.weight", 0, "not within 1 and 10000"),
        ("cpu.weight", "50%", "not a whole number"),
        ("cpu.weight", "9" * 5000, "more than 4096 bytes"),
        ("cpu.shares", 1, "not within 2 and 262144"),
        ("cpu.max", "50%", 'write "50000 100000"'),
        ("cpu.max", "12.5%", 'write "12500 100000"'),
        ("cpu.max", "1000 2000 3", "not a whole number"),
        ("cpu.max", "500 100000", "not within 1000"),
        ("cpu.max", "10000 5", "not within 1000"),
        ("cpu.uclamp.min", "20%", "without the %, as 20"),
        ("cpu.uclamp.max", "101", "not a percentage"),
        ("cpuset.cpus", "3-1", "is reversed: write 1-3"),
        ("cpuset.mems", "a", "not a list of numbers"),
        ("cpuset.cpus", "", "not a list of numbers"),
        ("cpuset.cpus.partition", "best", "none of member, root, isolated"),
        ("pids.max", "many", "not a whole number"),
        ("pids.max", "1\n2", "not a whole number"),
        ("memory.oom.group", 2, "not within 0 and 1"),
        ("io.max", "8:0 speed=1", "rbps="),
        ("io.max", "sda rbps=1", "write MAJOR:MINOR"),
        ("io.max", "8:0", "is not"),
        ("io.weight", "8:0 20000", "not within 1 and 10000"),
        ("blkio.throttle.read_bps_device", "8:0", "is not"),
        ("blkio.throttle.read_bps_device", "8:0 x", "not a whole number"),
        ("blkio.throttle.read_bps_device", "8:0 1 2", "is not"),
        ("rdma.max", "mlx4_0 hca_handle=x", "not a whole number"),
        ("misc.max", "../x 3", "not the name"),
        ("net_cls.classid", "0x1000000000", "no class"),
        ("net_cls.classid", "abc", "no class"),
        ("freezer.state", "COLD", "none of FROZEN"),
        ("hugetlb.2MB.max", "x", "not a size"),
    ],
)
def test_a_value_that_the_file_does_not_take_is_refused_with_what_it_takes(name, value, words):
    with pytest.raises(InvalidArgument) as refused:
        check_settings({name: value})
    assert str(refused.value).startswith(f"{name}: ")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory.max", "256Mi"),
        ("memory.high", "max"),
        ("memory.limit_in_bytes", -1),
        ("cpu.max", "max"),
        ("cpu.max", "50000 100000"),
        ("cpu.max", 50000),
        ("cpu.cfs_quota_us", -1),
        ("cpu.uclamp.min", "12.5"),
        ("cpuset.cpus", "0-3,7"),
        ("pids.max", "max"),
        ("io.max", ("8:0 rbps=1048576 wiops=max", "8:16 riops=5")),
        ("io.weight", "default 200"),
        ("io.weight", "8:16 200"),
        ("io.latency", "8:0 target=75"),
        ("rdma.max", "mlx4_0 hca_handle=2 hca_object=max"),
        ("misc.max", "res_a 3"),
        ("net_cls.classid", "0x00100001"),
        ("net_prio.ifpriomap", "eth0 5"),
        ("hugetlb.1GB.max", "2Gi"),
        ("cgroup.freeze", 1),
    ],
)
def test_a_value_that_the_file_takes_passes(name, value):
    check_settings({name: value})


@given(
    st.sampled_from(sorted(name for name in SETTINGS if SIZE_OF_PAGE not in name)),
    st.integers() | st.text(max_size=30) | st.tuples(st.text(max_size=10), st.text(max_size=10)),
)
def test_a_value_passes_or_is_refused_and_what_passes_is_lines_of_printable_text(name, value):
    try:
        check_settings({name: value})
    except InvalidArgument:
        return
    assert all(line.isprintable() and line for line in SETTINGS[name].kind.written(value).split("\n"))


def test_each_file_of_one_version_has_an_equal_on_the_other_or_a_line_on_what_to_do_instead():
    for row in SETTINGS.values():
        if SIZE_OF_PAGE in row.file or (row.v1 and row.v2):
            continue
        there, missing = (TO_V1, ONLY_V2) if row.v2 else (TO_V2, ONLY_V1)
        assert (row.file in there) != (row.file in missing), row.file


def test_only_files_of_the_list_are_translated_or_missed():
    assert {*TO_V1, *TO_V2, *ONLY_V1, *ONLY_V2} <= set(SETTINGS)


def test_the_controller_is_the_first_word():
    assert [controller_of(file) for file in ("memory.max", "cgroup.freeze", "hugetlb.2MB.max")] == [
        "memory",
        "",
        "hugetlb",
    ]


def test_a_text_is_taken_apart_by_device_and_key():
    assert parts_of("memory.max", "5") == {"": "5"}
    assert parts_of("io.max", "8:0 rbps=5 wiops=max\n8:16 rbps=7") == {
        "8:0 rbps": "5",
        "8:0 wiops": "max",
        "8:16 rbps": "7",
    }
    assert parts_of("io.weight", "default 100\n8:0 50") == {"": "100", "8:0": "50"}


@pytest.mark.parametrize(
    ("file", "unlimited", "limited"),
    [
        ("memory.max", "max", "4096"),
        ("memory.limit_in_bytes", "9223372036854771712", "4096"),
        ("cpu.max", "max 100000", "50000 100000"),
        ("cpu.cfs_quota_us", "-1", "5000"),
        ("pids.max", "max", "100"),
        ("io.max", "", "8:0 rbps=5 wbps=max riops=max wiops=max"),
        ("blkio.throttle.read_bps_device", "", "8:0 5"),
        ("cpuset.cpus", "", "0"),
    ],
)
def test_a_limit_is_told_from_none(file, unlimited, limited):
    row = SETTINGS[file]
    assert row.kind.unlimited is not None
    assert (row.kind.unlimited(unlimited), row.kind.unlimited(limited)) == (True, False)
    assert row in limits_of([controller_of(file)], v2=row.v2)


def test_what_protects_or_weighs_is_no_limit():
    names = {row.file for row in limits_of({"memory", "cpu", "io", "pids", "cpuset"}, v2=True)}
    assert names == {
        "memory.high",
        "memory.max",
        "memory.swap.high",
        "memory.swap.max",
        "memory.zswap.max",
        "cpu.max",
        "io.max",
        "pids.max",
        "cpuset.cpus",
        "cpuset.mems",
    }


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a\u2028b", "a\u202eb", "\x85"])
def test_a_rules_name_is_one_line_of_characters_that_print(name):
    with pytest.raises(ConfigError, match="do not print"):
        rules({"name": name, "match": {"comm": "x"}})


@pytest.mark.parametrize("path", ["/a\nb", "/a\0b", "/a\x1bb", "/" + "x" * 256, "/a/../b", "/a//b", "a", "/"])
def test_a_target_that_no_group_can_be_is_refused(path):
    with pytest.raises(ConfigError, match=r"cgroup\.path"):
        rules({"match": {"comm": "x"}, "cgroup": {"path": path}})
