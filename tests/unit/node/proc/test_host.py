import pytest
from holdfast.cgroups import UNIFIED, Hierarchy
from holdfast.cgroups.v1 import V1Tree
from holdfast.cgroups.v2 import V2Tree
from holdfast.errors import KernelRefused
from holdfast.node.model.memory_domain import MemoryDomain
from holdfast.node.model.process import NO_LIMIT
from holdfast.node.proc.host import Groups, capabilities, innermost_limit, read_domains, read_host

from tests.fakes.placement import v2_host


def group(root, path, **files):
    at = root / path.strip("/")
    at.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (at / name.replace("__", ".")).write_text(f"{value}\n")


@pytest.fixture
def v2(tmp_path):
    group(tmp_path, "/", cgroup__controllers="cpu memory")
    return Hierarchy({UNIFIED: V2Tree(str(tmp_path))})


@pytest.fixture
def v1(tmp_path):
    for name in ("memory", "cpuset", "freezer"):
        (tmp_path / name).mkdir()
    return Hierarchy({name: V1Tree(name, str(tmp_path / name)) for name in ("memory", "cpuset", "freezer")})


def test_a_v2_group_is_known_by_its_files(v2, tmp_path):
    group(tmp_path, "/a", memory__max=4096, cgroup__type="threaded", cgroup__freeze=1)
    group(tmp_path, "/a", cgroup__subtree_control="cpu memory", memory__oom__group=1)
    facts = Groups(v2)["/a"]
    assert (facts.memory_limit, facts.type, facts.frozen) == (4096, "threaded", True)
    assert (facts.subtree_control, facts.values["memory.oom.group"], facts.cpus) == (("cpu", "memory"), "1", None)


def test_a_v1_group_is_known_over_all_its_hierarchies(v1, tmp_path):
    group(tmp_path, "/memory/a", memory__limit_in_bytes=9223372036854771712)
    group(tmp_path, "/cpuset/a", cpuset__cpus="", cpuset__mems="0")
    group(tmp_path, "/freezer/a", freezer__state="FROZEN")
    facts = Groups(v1)["/a"]
    assert (facts.memory_limit, facts.frozen) == (NO_LIMIT, True)
    assert (facts.cpus, facts.mems, facts.type) == ("", "0", "domain")


def test_a_group_is_looked_at_once_until_it_is_forgotten(v2, tmp_path):
    groups = Groups(v2)
    assert "/a" not in groups
    group(tmp_path, "/a", memory__max="max")
    assert "/a" not in groups
    groups.forget("/a")
    assert groups["/a"].memory_limit == NO_LIMIT
    (tmp_path / "a/memory.max").write_text("4096\n")
    assert groups["/a"].values["memory.max"] == "max"
    groups.forget()
    assert groups["/a"].values["memory.max"] == "4096"


def test_domains_are_the_node_and_what_has_a_limit_with_who_dies_as_a_group(v2, tmp_path):
    group(tmp_path, "/a", memory__max=40960, memory__current=8192, memory__oom__group=0)
    group(tmp_path, "/a/b", memory__max="max", memory__oom__group=1)
    group(tmp_path, "/c", memory__max="max", memory__oom__group=1)
    host = v2_host(swap_pages=0)
    assert read_domains(v2, host) == (
        MemoryDomain("/", host.memory_pages, 0, 0, frozenset({"/a/b", "/c"})),
        MemoryDomain("/a", 10, 0, 2, frozenset({"/a/b"})),
    )


@pytest.mark.parametrize(("text", "pages"), [("max", 1000), ("8192", 2), ("0", 0)])
def test_swap_counts_as_far_as_the_group_may_use_it(v2, tmp_path, text, pages):
    group(tmp_path, "/a", memory__max=40960, memory__swap__max=text, memory__current=0)
    assert read_domains(v2, v2_host(swap_pages=1000))[1].swap_pages == pages


def test_v1_counts_swap_together_with_memory(v1, tmp_path):
    group(tmp_path, "/memory/a", memory__limit_in_bytes=40960, memory__memsw__limit_in_bytes=49152)
    assert read_domains(v1, v2_host(swap_pages=1000))[1].swap_pages == 2


def test_the_innermost_limit_is_the_nearest_one_above(v2, tmp_path):
    group(tmp_path, "/a", memory__max=40960)
    group(tmp_path, "/a/b", memory__max="max")
    group(tmp_path, "/a/b/c", memory__max="max")
    assert [innermost_limit(v2, path) for path in ("/a/b/c", "/a", "/x", "/")] == ["/a", "/a", "/", "/"]


@pytest.mark.parametrize(
    ("uid_map", "effective", "expected"),
    [
        ("0 0 4294967295", "000001ffffffffff", True),
        ("0 0 4294967295", "000001fffeffffff", False),
        ("0 1000 1", "000001ffffffffff", False),
    ],
)
def test_a_capability_counts_only_in_the_initial_user_namespace(tmp_path, uid_map, effective, expected):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/uid_map").write_text(f"{uid_map}\n")
    (tmp_path / "self/status").write_text(f"Name:\tx\nCapEff:\t{effective}\n")
    assert ("CAP_SYS_RESOURCE" in capabilities(str(tmp_path))) is expected


def test_this_machine_is_described(v2):
    facts = read_host("/proc", v2)
    assert facts.memory_pages > 0
    assert facts.page_bytes in (4096, 16384, 65536)
    assert facts.kernel >= (4, 0)
    assert facts.is_v2


def test_a_proc_that_is_not_one_is_said(v2, tmp_path):
    with pytest.raises(KernelRefused, match="meminfo: no such file"):
        read_host(str(tmp_path), v2)
