from __future__ import annotations

import pytest
from holdfast.pods.cgroup_path import PodRef, container_of_path, pod_of, pod_of_path
from hypothesis import given
from hypothesis import strategies as st

UID = "3f2c1a90-0b7e-4c52-9d5e-8a1f6b7c2d3e"
FLAT = UID.replace("-", "_")
STATIC = "0123456789abcdef0123456789abcdef"
ID = "a" * 64

SYSTEMD = {
    "guaranteed": f"/kubepods.slice/kubepods-pod{FLAT}.slice",
    "burstable": f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{FLAT}.slice",
    "besteffort": f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{FLAT}.slice",
}
CGROUPFS = {
    "guaranteed": f"/kubepods/pod{UID}",
    "burstable": f"/kubepods/burstable/pod{UID}",
    "besteffort": f"/kubepods/besteffort/pod{UID}",
}
LEAVES = [f"cri-containerd-{ID}.scope", f"crio-{ID}.scope", ID, f"crio-{ID}", f"docker-{ID}.scope"]


@pytest.mark.parametrize("leaf", LEAVES)
@pytest.mark.parametrize("names", [SYSTEMD, CGROUPFS], ids=["systemd", "cgroupfs"])
@pytest.mark.parametrize("qos", ["guaranteed", "burstable", "besteffort"])
def test_every_driver_class_and_runtime_gives_uid_class_and_container(names, qos, leaf):
    assert pod_of_path(f"{names[qos]}/{leaf}") == PodRef(UID, qos, ID, names[qos], f"{names[qos]}/{leaf}")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
            f"kubelet-kubepods-besteffort-pod{FLAT}.slice/cri-containerd-{ID}.scope",
            (UID, "besteffort", ID),
        ),
        (f"/kubelet/kubepods/burstable/pod{UID}/{ID}", (UID, "burstable", ID)),
        (f"/system.slice/kind.scope/kubelet-kubepods/pod{UID}/{ID}", (UID, "guaranteed", ID)),
        (f"/kubepods/burstable/pod{STATIC}/{ID}", (STATIC, "burstable", ID)),
        (f"/kubepods.slice/kubepods-pod{STATIC}.slice/crio-{ID}.scope/container", (STATIC, "guaranteed", ID)),
        (f"{SYSTEMD['burstable']}/crio-conmon-{ID}.scope", (UID, "burstable", "")),
        (SYSTEMD["guaranteed"], (UID, "guaranteed", "")),
        (f"{CGROUPFS['burstable']}/{ID}/init.scope", (UID, "burstable", ID)),
    ],
    ids=["kind", "cgroup-root", "prefix-cgroupfs", "static", "crun-child", "conmon", "pod-level", "systemd-inside"],
)
def test_prefixes_static_pods_and_groups_below_the_container(path, expected):
    found = pod_of_path(path)
    assert (found.uid, found.qos, found.container_id) == expected


def test_of_a_node_inside_a_pod_the_inner_pod_is_meant():
    inner = UID.replace("3f2c1a90", "00000000")
    found = pod_of_path(f"{SYSTEMD['burstable']}/cri-containerd-{ID}.scope/kubepods/besteffort/pod{inner}/{'b' * 64}")
    assert (found.uid, found.qos, found.container_id) == (inner, "besteffort", "b" * 64)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/system.slice/ssh.service",
        "/kubepods.slice",
        "/kubepods.slice/kubepods-burstable.slice",
        "/kubepods/burstable",
        f"/pod{UID}/{ID}",
        f"/docker/{ID}",
        f"/kubepods/silver/pod{UID}",
        f"/kubepods.slice/kubepods-podnot-a-uid.slice/{ID}",
        f"/burstable/pod{UID}",
    ],
)
def test_what_is_not_a_pods_group_is_nobodys(path):
    assert pod_of_path(path) is None


def test_the_hierarchy_that_names_the_container_is_preferred():
    paths = {"cpu,cpuacct": "/", "pids": CGROUPFS["burstable"], "memory": f"{CGROUPFS['burstable']}/{ID}"}
    assert pod_of(paths).container_id == ID
    assert pod_of({"memory": "/user.slice"}) is None
    assert pod_of({"pids": CGROUPFS["burstable"]}).uid == UID


@given(st.text(alphabet="/kubepods-.slice_burstable0123456789abcdefxyz{}\x00é", max_size=200))
def test_any_text_is_answered(path):
    found = pod_of_path(path)
    assert found is None or found.uid


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_containers_group_is_known_by_its_last_part_wherever_it_is(leaf):
    found = container_of_path(f"/somewhere/{leaf}/init.scope")
    assert found == PodRef("", "", ID, "/somewhere", f"/somewhere/{leaf}")


def test_no_container_is_found_where_none_is_named():
    assert container_of_path("/system.slice/ssh.service") is None
    assert container_of_path(f"/kubepods/crio-conmon-{ID}.scope") is None
