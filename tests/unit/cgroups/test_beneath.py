"""Groups are real directories below the mount: with openat2 and without."""

from __future__ import annotations

import errno
import os

import pytest
from holdfast.cgroups import beneath
from holdfast.cgroups.beneath import DIRECTORY, Beneath
from holdfast.cgroups.files import Mounted
from holdfast.errors import KernelRefused


@pytest.fixture(params=["openat2", "walk"])
def mount(request, tmp_path, monkeypatch):
    """A directory with a group, beside a secret that links of all kinds lead to."""
    if request.param == "walk":
        refused = OSError(errno.ENOSYS, "")

        def absent(*_):
            raise refused

        monkeypatch.setattr(beneath, "_openat2", absent)
    (tmp_path / "secret").write_text("root's")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/memory.max").write_text("outside")
    root = tmp_path / "mount"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/memory.max").write_text("inside")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "inner").symlink_to("a")
    (root / "a/link.max").symlink_to(tmp_path / "secret")
    tree = Mounted("memory", str(root))
    yield tree
    tree.close()


def test_a_file_of_a_group_is_read_and_written(mount):
    assert mount.read("/a/b", "memory.max") == "inside"
    assert mount.write("/a/b", "memory.max", "x") == "xnside"
    assert (mount.exists("/"), mount.exists("/a/b"), mount.exists("/a/c")) == (True, True, False)
    assert mount.children("/") == ("/a",)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/link", "memory.max"),
        ("/inner/b", "memory.max"),
        ("/a", "link.max"),
        ("/a", "../../secret"),
        ("/..", "secret"),
        ("/a/../..", "secret"),
        ("/a/b/..", "link.max"),
        ("/a", "b/memory.max"),
        ("/a", ".."),
        ("/a", ""),
        ("/a", "x\0y"),
        ("/a\0", "x"),
    ],
)
def test_nothing_is_reached_through_a_link_or_a_path(mount, path, file):
    with pytest.raises(KernelRefused):
        mount.read(path, file)
    with pytest.raises(KernelRefused):
        mount.write(path, file, "owned")
    root = os.path.dirname(mount.mount)
    with open(f"{root}/secret") as secret, open(f"{root}/outside/memory.max") as outside:
        assert (secret.read(), outside.read()) == ("root's", "outside")


@pytest.mark.parametrize("path", ["/link", "/inner", "/link/x", "/../outside", "/a/../../outside"])
def test_a_link_is_no_group(mount, path):
    assert not mount.exists(path)
    with pytest.raises(KernelRefused):
        mount.join(path, 0)
    with pytest.raises(KernelRefused):
        mount.create(f"{path}/made")
    assert not os.path.exists(f"{os.path.dirname(mount.mount)}/outside/made")


def test_a_group_is_made_and_removed(mount):
    assert mount.create("/a/c/d") == ("/a/c", "/a/c/d")
    assert mount.create("/a/c/d") == ()
    assert (mount.remove("/a/c"), mount.remove("/a/c/d"), mount.remove("/a/c"), mount.remove("/a/c")) == (
        False,
        True,
        True,
        True,
    )


def test_what_is_mounted_below_is_another_place(tmp_path):
    """/proc is a file system of its own below /."""
    root = Beneath("/")
    for openat2 in (True, False):
        root._openat2 = openat2
        with pytest.raises(OSError, match="cross-device") as refused:
            os.close(root.open("/proc/sys", DIRECTORY))
        assert refused.value.errno == errno.EXDEV
    root.close()


def test_a_refusal_of_one_file_does_not_end_the_use_of_openat2(tmp_path, monkeypatch):
    calls = []
    real = beneath._openat2

    def refuse_once(*given):
        calls.append(given)
        if len(calls) == 1:
            raise OSError(errno.EPERM, "")
        return real(*given)

    monkeypatch.setattr(beneath, "_openat2", refuse_once)
    some = Beneath(str(tmp_path))
    for _ in range(2):
        os.close(some.open("/", DIRECTORY))
    some.close()
    assert some._openat2
