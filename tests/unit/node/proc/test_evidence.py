import os
import stat

import pytest
from holdfast.node.proc.evidence import _writable
from holdfast.node.proc.reader import is_unreadable


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
