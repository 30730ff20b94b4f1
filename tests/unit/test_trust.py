from __future__ import annotations

import os
import socket
import struct

import pytest
from holdfast.errors import Untrusted
from holdfast.trust import open_trusted, refuse_untrusted

STRANGER = 12345


@pytest.fixture
def there(short_dir):
    """The path of a socket in a directory of its own."""
    (short_dir / "d").mkdir(mode=0o755)
    path = short_dir / "d" / "s.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        yield path


def test_a_socket_of_ours_in_a_directory_of_ours_passes_also_by_a_link(there, short_dir):
    refuse_untrusted(str(there))
    (short_dir / "link").symlink_to(there)
    refuse_untrusted(str(short_dir / "link"))


def test_a_socket_that_is_not_there_is_an_oserror(short_dir):
    with pytest.raises(FileNotFoundError):
        refuse_untrusted(str(short_dir / "s.sock"))


@pytest.mark.root
def test_a_socket_of_another_user_is_refused(there):
    os.chown(there, STRANGER, -1)
    with pytest.raises(Untrusted, match=f"^{there} belongs to uid {STRANGER}; a socket of root's is needed$"):
        refuse_untrusted(str(there))


@pytest.mark.root
def test_a_link_of_another_user_is_refused_wherever_it_leads(there, short_dir):
    os.chmod(short_dir, 0o1777)
    (short_dir / "link").symlink_to(there)
    os.chown(short_dir / "link", STRANGER, -1, follow_symlinks=False)
    with pytest.raises(Untrusted, match=f"uid {STRANGER}"):
        refuse_untrusted(str(short_dir / "link"))


@pytest.mark.parametrize("target", ["d/e", "{}/d/e", "./d/../d/e/", "other"])
def test_links_of_ours_are_followed_to_the_directory_itself(short_dir, target):
    (short_dir / "d/e").mkdir(parents=True)
    (short_dir / "other").symlink_to("d/e")
    (short_dir / "link").symlink_to(target.format(short_dir))
    descriptor = open_trusted(f"{short_dir}/link")
    try:
        assert os.readlink(f"/proc/self/fd/{descriptor}") == f"{short_dir}/d/e"
    finally:
        os.close(descriptor)


def test_links_without_end_and_what_is_no_directory_are_an_oserror(short_dir):
    (short_dir / "loop").symlink_to("loop")
    (short_dir / "file").touch()
    for name, why in (("loop", "Too many levels"), ("file", "Not a directory"), ("file/x", "Not a directory")):
        with pytest.raises(OSError, match=why):
            open_trusted(f"{short_dir}/{name}")


@pytest.mark.root
def test_a_link_of_another_user_in_the_middle_of_a_path_is_refused(there, short_dir):
    os.chmod(short_dir, 0o1777)
    (short_dir / "link").symlink_to(short_dir)
    os.chown(short_dir / "link", STRANGER, -1, follow_symlinks=False)
    with pytest.raises(Untrusted, match=f"{short_dir}/link is a link of uid {STRANGER}"):
        open_trusted(f"{short_dir}/link/d")


@pytest.mark.parametrize("through", ["theirs/link", "theirs/../ours"])
def test_a_link_in_a_directory_to_which_others_may_write_is_refused(short_dir, through):
    (short_dir / "ours").mkdir()
    (short_dir / "theirs").mkdir()
    (short_dir / "theirs/link").symlink_to(short_dir / "ours")
    os.chmod(short_dir / "theirs", 0o777)
    with pytest.raises(Untrusted, match=r"every user may write to .*/theirs"):
        open_trusted(f"{short_dir}/{through}")


@pytest.mark.parametrize("by_a_link", [False, True])
def test_a_directory_to_which_others_may_write_is_refused(there, short_dir, by_a_link):
    os.chmod(there.parent, 0o777)
    (short_dir / "link").symlink_to(there)
    with pytest.raises(Untrusted, match="every user may write to "):
        refuse_untrusted(str(short_dir / "link" if by_a_link else there))


#: For setxattr(2), acl(5): the owner rwx, uid 12345 rwx, the group r-x, a mask rwx or r-x, others r-x.
def access_list(mask):
    entries = (1, 7, 2**32 - 1), (2, 7, STRANGER), (4, 5, 2**32 - 1), (16, mask, 2**32 - 1), (32, 5, 2**32 - 1)
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_a_directory_whose_access_list_lets_another_user_write_is_refused(there):
    try:
        os.setxattr(there.parent, "system.posix_acl_access", access_list(7))
    except OSError as error:
        pytest.skip(f"access lists: {error.strerror}")
    with pytest.raises(Untrusted, match=r"the access list of .*/d lets others write; setfacl -b it"):
        refuse_untrusted(str(there))
    os.setxattr(there.parent, "system.posix_acl_access", access_list(5))
    refuse_untrusted(str(there))
