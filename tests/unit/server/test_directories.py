import os
import stat
import tempfile

import pytest
from holdfast.errors import BootError
from holdfast.server.directories import prepare


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture(autouse=True)
def _tmpdir(monkeypatch):
    monkeypatch.setenv("TMPDIR", os.environ.get("TMPDIR", "/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())


def test_they_are_made_with_their_modes_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        prepare(f"{tmp_path}/a/root", f"{tmp_path}/state", f"{tmp_path}/temp")
    finally:
        os.umask(before)
    assert [mode(tmp_path / name) for name in ("a/root", "state", "temp")] == [0o700, 0o711, 0o700]
    assert os.environ["TMPDIR"] == f"{tmp_path}/temp"


def test_an_existing_root_is_closed_and_an_existing_state_left_as_it_is(tmp_path):
    (tmp_path / "root").mkdir(mode=0o755)
    (tmp_path / "state").mkdir(mode=0o755)
    prepare(f"{tmp_path}/root", f"{tmp_path}/state", "")
    assert [mode(tmp_path / name) for name in ("root", "state")] == [0o700, 0o755]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.touch(), "is not a directory"),
        (lambda path: (path.mkdir(), os.chmod(path, 0o777)), "every user may write to "),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_the_key_and_the_path(tmp_path, make, why):
    make(tmp_path / "root")
    with pytest.raises(BootError, match=rf"^root: {tmp_path}/root: {why}"):
        prepare(f"{tmp_path}/root", f"{tmp_path}/state", "")


@pytest.mark.root
@pytest.mark.parametrize("link", [False, True])
def test_somebody_elses_directory_or_link_is_refused(tmp_path, link):
    (tmp_path / "there").mkdir()
    if link:
        (tmp_path / "root").symlink_to(tmp_path / "there")
    else:
        (tmp_path / "root").mkdir()
    os.chown(tmp_path / "root", 12345, -1, follow_symlinks=False)
    with pytest.raises(BootError, match="uid 12345"):
        prepare(f"{tmp_path}/root", f"{tmp_path}/state", "")


@pytest.mark.root
@pytest.mark.parametrize(
    ("mode_above", "gid", "why"),
    [
        (0o777, 0, "every user may write to {}; chmod o-w it"),
        (0o775, 12345, "group 12345 may write to {}; chmod g-w it"),
        (0o775, 0, ""),
        (0o1777, 12345, ""),
    ],
)
def test_a_directory_below_one_that_another_may_write_to_is_refused(tmp_path, mode_above, gid, why):
    above = tmp_path / "above"
    (above / "root").mkdir(parents=True)
    os.chown(above, -1, gid)
    above.chmod(mode_above)
    if not why:
        prepare(f"{above}/root", f"{tmp_path}/state", "")
        return
    with pytest.raises(BootError, match=why.format(above)):
        prepare(f"{above}/root", f"{tmp_path}/state", "")


def test_our_own_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "there")
    prepare(f"{tmp_path}/root", f"{tmp_path}/state", "")
    assert mode(tmp_path / "there") == 0o700
