import os
import stat

import pytest
from holdfast.node.proc.evidence import _mounts, _writable
from holdfast.node.proc.reader import is_unreadable
from hypothesis import given
from hypothesis import strategies as st

#: What the kernel leaves as it is in a mount's point; a blank, a tab, a newline and a backslash are written in octal.
POINT = st.binary(min_size=1).map(lambda name: b"/" + bytes(set(name) and [b for b in name if b not in b" \t\n\\\0"]))


@given(st.lists(st.tuples(POINT, st.booleans(), st.sampled_from([b"ext4", b"fuse.sshfs", b"nfs4"])), max_size=5))
def test_mounts_are_read_whatever_bytes_their_points_have(mounts):
    lines = [
        b"%d 1 0:%d / %s rw%s,relatime shared:1 master:2 - %s src rw,user_id=1000"
        % (number, number, point, b",nosuid" if nosuid else b"", kind)
        for number, (point, nosuid, kind) in enumerate(mounts, 1)
    ]
    found = _mounts(b"\n".join(lines) + b"\n")
    assert {number: (mount.point, mount.nosuid, mount.kind) for number, mount in found.items()} == dict(
        enumerate(mounts, 1)
    )
    assert [mount.is_remote for mount in found.values()] == [kind != b"ext4" for _, _, kind in mounts]


@pytest.mark.parametrize(
    ("uid", "mode", "who"),
    [
        (0, 0o755, ""),
        (0, 0o4755, ""),
        (1001, 0o755, "/x is writable by uid 1001"),
        (0, 0o775, "/x is writable by group 50"),
        (0, 0o1777, "/x is writable by others"),
    ],
)
def test_who_but_root_may_write(uid, mode, who):
    found = os.stat_result((stat.S_IFDIR | mode, 1, 1, 1, uid, 50, 0, 0, 0, 0))
    assert _writable("/x", found) == who


@pytest.mark.parametrize(
    ("path", "unreadable"),
    [
        ("/system.slice/ssh.service", False),
        ("/kubepods.slice", False),
        ("/kubelet.slice/kubelet-kubepods.slice", False),
        ("/kubepods.slice/kubepods-burstable.slice", False),
        ("/kubepods/besteffort", False),
        ("/kubepods/burstable/pod1234/deadbeef", True),
        ("/system.slice/containerd.service/kubepods-burstable-podX.slice:cri-containerd:ID", True),
        ("/kubepods.slice/kubepods-podX.slice/cri-containerd-ID.scope", True),
    ],
)
def test_a_group_below_the_kubelets_of_which_no_pod_was_read_is_unreadable(path, unreadable):
    assert is_unreadable(path) is unreadable
