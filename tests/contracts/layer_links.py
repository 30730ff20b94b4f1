"""Layers with links in them that try to get out of their root, and what they make of it: for `differ`."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.contracts.layer_scenes import Step, all_of, file, folder, link, nothing, symlink, with_passwd
from tests.peers.layers import Made

DIRECTORY, SYMLINK, LINK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@dataclass(frozen=True)
class Inside:
    """A layer with links in it. ``leads_out``: a name or a hard link of its own has more ``..`` than directories."""

    name: str
    entries: tuple[tuple, ...]
    after: Callable[[Path], None]
    before: Step = nothing
    leads_out: bool = False

    def layer(self) -> bytes:
        made = Made()
        for kind, name, *rest in self.entries:
            match kind:
                case "d":
                    made.add(name, kind=DIRECTORY, mode=rest[0] if rest else 0o755)
                case "f":
                    made.add(name, rest[0].encode())
                case "s":
                    made.add(name, kind=SYMLINK, linkname=rest[0], mode=0o777)
                case "l":
                    made.add(name, kind=LINK, linkname=rest[0])
        return made.bytes


def inside(root: Path, name: str) -> Path:
    """Return the target of ``name`` for a process whose root is ``root``."""
    path, left = [], [part for part in name.split("/") if part]
    while left:
        part = left.pop(0)
        if part == "..":
            del path[-1:]
            continue
        if (found := root.joinpath(*path, part)).is_symlink():
            target = os.readlink(found)
            left = [one for one in target.split("/") if one not in ("", ".")] + left
            path = [] if target.startswith("/") else path
        elif part != ".":
            path.append(part)
    return root.joinpath(*path)


def _holds(**files: str) -> Callable[[Path], None]:
    def check(root: Path) -> None:
        assert files == {name: inside(root, name).read_text() for name in files}

    return check


def _same(one: str, other: str) -> Callable[[Path], None]:
    def check(root: Path) -> None:
        assert inside(root, one).samefile(inside(root, other))

    return check


def _link_too(root: Path) -> None:
    """A hard link to a symbolic link is that link, and leads where it leads."""
    assert os.readlink(root / "localpasswd") == os.readlink(root / "passwdlink")
    _same("localpasswd", "etc/passwd")(root)


def _whiteout(*left: str, removed: str = "") -> Callable[[Path], None]:
    def check(root: Path) -> None:
        assert all(inside(root, name).read_text() for name in left)
        assert not removed or not os.path.lexists(root / removed)

    return check


_ETC = ("d", "etc", 0o770)
_PASSWD = ("f", "/etc/passwd", "inside")
_UNBROKEN = _holds(**{"etc/unbroken": "unbroken"})
_SAME = _same("localpasswd", "etc/passwd")
_INTO = _same("localetc/localpasswd", "etc/passwd")
_LINKED = all_of(with_passwd, symlink("/etc", "localetc"))
_HIDDEN = all_of(_LINKED, file("etc/hidden", "to go"))
_DEAD = all_of(with_passwd, symlink("/none", "localetc"))

INSIDE = [
    Inside("an absolute link on the way", (_ETC, ("s", "localetc", "/etc"), ("f", "/localetc/unbroken", "unbroken")),
           _UNBROKEN),
    Inside("a link up and out on the way",
           (_ETC, ("d", "some"), ("s", "localetc", "/some/../etc"), ("f", "/localetc/unbroken", "unbroken")),
           _UNBROKEN),
    Inside("two absolute links on the way",
           (_ETC, ("d", "some"), ("s", "/some/etc", "/etc"), ("s", "localetc", "/some/etc"),
            ("f", "/some/etc/unbroken", "unbroken")), _UNBROKEN),
    Inside("a relative link and an absolute one on the way",
           (_ETC, ("d", "some"), ("s", "/some/etc", "/etc"), ("s", "localetc", "./some/etc"),
            ("f", "/localetc/unbroken", "unbroken")), _UNBROKEN),
    Inside("an empty file through a link",
           (_ETC, ("f", "etc/emptied", "full"), ("s", "localetc", "/etc"), ("f", "/localetc/emptied", "")),
           _holds(**{"etc/emptied": ""})),
    Inside("a hard link through a relative link",
           (_ETC, _PASSWD, ("d", "sub"), ("s", "sub/d1", "../../etc"), ("l", "sub/mine", "/sub/d1/passwd")),
           _same("sub/mine", "etc/passwd")),
    Inside("a hard link through a link down and out",
           (_ETC, _PASSWD, ("d", "sub"), ("d", "down"), ("s", "sub/d1", "../down/../../etc"),
            ("l", "sub/mine", "/sub/d1/passwd")), _same("sub/mine", "etc/passwd")),
    Inside("a hard link through an absolute link",
           (_ETC, _PASSWD, ("s", "localetc", "/etc"), ("l", "localpasswd", "/localetc/passwd")), _SAME),
    Inside("a hard link through a long relative link",
           (_ETC, _PASSWD, ("s", "localetc", "../../../../../../../etc"), ("l", "localpasswd", "/localetc/passwd")),
           _SAME),
    Inside("a hard link through a link up and out",
           (_ETC, _PASSWD, ("s", "localetc", "upandout/../../../etc"), ("l", "localpasswd", "/localetc/passwd")),
           _SAME),
    Inside("a hard link that is relative itself",
           (_ETC, _PASSWD, ("l", "localpasswd", "../../../../../etc/passwd")), _SAME, leads_out=True),
    Inside("a hard link that is absolute itself", (_ETC, _PASSWD, ("l", "localpasswd", "/etc/passwd")), _SAME),
    Inside("a hard link to a link whose target is still to come",
           (_ETC, ("s", "localpasswd", "/etc/passwd"), ("l", "localpasswd-too", "localpasswd"),
            ("f", "/etc/passwd", "after")), _same("localpasswd-too", "etc/passwd")),
    Inside("a hard link to a relative link",
           (_ETC, _PASSWD, ("s", "passwdlink", "../../../../../etc/passwd"), ("l", "localpasswd", "/passwdlink")),
           _link_too),
    Inside("a hard link to an absolute link",
           (_ETC, _PASSWD, ("s", "passwdlink", "/etc/passwd"), ("l", "localpasswd", "/passwdlink")), _link_too),
    Inside("a link called as the directory above",
           (_ETC, _PASSWD, ("s", "..", "/etc/"), ("l", "localpasswd", "/etc/passwd")), _SAME, leads_out=True),
    Inside("a link with no name", (_ETC, _PASSWD, ("s", "", "/etc/"), ("l", "localpasswd", "/etc/passwd")), _SAME),
    Inside("a link whose name ends in two dots",
           (_ETC, _PASSWD, ("s", "localetc/sub/..", "/etc/"), ("l", "/localetc/localpasswd", "/etc/passwd")), _INTO),
    Inside("a directory's name that ends in a slash",
           (_ETC, _PASSWD, ("d", "localetc/", 0o770), ("l", "/localetc/localpasswd", "/etc/passwd")), _INTO),
    Inside("a link in a directory's place", (("s", "localetc", "/etc"), ("l", "/localetc/localpasswd", "/etc/passwd")),
           _INTO, all_of(with_passwd, folder("localetc"))),
    Inside("a relative link in a directory's place",
           (("s", "localetc", "../../etc"), ("l", "/localetc/localpasswd", "/etc/passwd")),
           _INTO, all_of(with_passwd, folder("localetc"))),
    Inside("a directory in a link's place", (("d", "/localetc/"), ("l", "/localetc/localpasswd", "/etc/passwd")),
           _INTO, _LINKED),
    Inside("a directory in a link's place, and a file in a hard link's",
           (("d", "/localetc/"), ("f", "/localetc/localpasswd", "different")),
           _holds(**{"localetc/localpasswd": "different", "etc/passwd": "inside"}),
           all_of(with_passwd, symlink("etc", "localetc"), link("etc/passwd", "etc/localpasswd"))),
    Inside("a whiteout of a link", (("f", ".wh.localetc", ""),), _whiteout("etc/passwd", removed="localetc"), _LINKED),
    Inside("a whiteout through a link", (("f", "localetc/.wh.hidden", ""),),
           _whiteout("etc/passwd", removed="etc/hidden"), _HIDDEN),
    Inside("a directory called like a whiteout", (("f", ".wh.etc/some", "full"),),
           _whiteout("etc/passwd", ".wh.etc/some"), _HIDDEN),
    Inside("a whiteout through a link that leads nowhere", (("f", "localetc/.wh.etc", ""),),
           _whiteout("etc/passwd"), _DEAD),
    Inside("a whiteout whose name has two dots in it", (("f", "none/../.wh.etc", ""),),
           _whiteout(removed="etc"), _DEAD),
]  # fmt: skip
