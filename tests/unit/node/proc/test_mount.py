import os
import subprocess

import pytest
from holdfast.node.proc.mount import MOST_MOUNTS, InitMounts, mount_among, mounts_of
from holdfast.process import ProcRoot
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
    found = mounts_of([*lines, b"", b"no line of mountinfo"])
    assert [(mount.nosuid, mount.kind, mount.is_root) for mount in found.values()] == [
        (nosuid, kind, point == b"/") for point, nosuid, kind in mounts
    ]
    assert [mount_among(lines, number) for number in found] == list(found.values())
    assert [mount.is_remote for mount in found.values()] == [kind != b"ext4" for _, _, kind in mounts]


def test_of_a_users_own_mounts_no_more_are_looked_through_than_said():
    read = []

    def mountinfo():
        for number in range(1, 100_001):
            read.append(number)
            yield b"%d 1 0:9 / /m/%d rw - tmpfs none rw" % (number, number)

    assert mount_among(mountinfo(), 100_000) is None
    assert len(read) == MOST_MOUNTS


#: In a mount namespace of its own: mounts at the first word, says where, then mounts there anew on each line read.
MOUNTS = """
mount --make-rprivate / && mount -t tmpfs none "$1" && echo "$$" && read x &&
umount "$1" && mount -t tmpfs -o nosuid none "$1" && echo again && read x
"""


@pytest.mark.root
def test_a_mount_that_has_the_number_of_one_that_is_gone_is_not_taken_for_it(tmp_path):
    point, proc = tmp_path / "point", tmp_path / "proc"
    point.mkdir()
    proc.mkdir()
    command = ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", point]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        (proc / "1").symlink_to(f"/proc/{child.stdout.readline().strip()}")
        with ProcRoot(str(proc)) as root:
            mounts = InitMounts(root)
            assert mounts.refresh()
            assert not mounts.refresh()
            lines = (proc / "1/mountinfo").read_bytes().splitlines()
            number = next(int(line.split()[0]) for line in lines if line.split()[4] == os.fsencode(point))
            assert not mounts.get(number).nosuid
            assert mounts.has_file_system_of(mounts.get(number))
            gone = mounts.get(number)
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "again\n"
            assert mounts.refresh()
            assert mounts.get(number) != gone
        child.communicate("\n")
