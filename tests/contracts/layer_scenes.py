"""Trees, and what is changed in them: what `differ` puts to every differ.

A step is a function of a directory. The situations are those of containerd's suites (``archive``, and the file system
suite of its ``continuity`` module); names and contents are ours.
"""

from __future__ import annotations

import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Step = Callable[[Path], object]

DIRECTORY, LINK, REGULAR = tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.REGTYPE


def done(root: Path, *steps: Step) -> Path:
    """``root``, made where it is missing, after ``steps``."""
    root.mkdir(parents=True, exist_ok=True)
    for step in steps:
        step(root)
    return root


def folder(name: str, mode: int = 0o755) -> Step:
    """A directory, and those above it."""

    def step(root: Path) -> None:
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)

    return step


def file(name: str, content: str = "", mode: int = 0o644) -> Step:
    """A file, made or written over."""

    def step(root: Path) -> None:
        (root / name).write_text(content)
        (root / name).chmod(mode)

    return step


def link(target: str, name: str) -> Step:
    return lambda root: os.link(root / target, root / name)


def symlink(target: str, name: str) -> Step:
    return lambda root: os.symlink(target, root / name)


def mode(name: str, bits: int) -> Step:
    return lambda root: (root / name).chmod(bits)


def gone(name: str) -> Step:
    def step(root: Path) -> None:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    return step


def moved(name: str, to: str) -> Step:
    return lambda root: os.rename(root / name, root / to)


def listening(name: str) -> Step:
    def step(root: Path) -> None:
        with socket.socket(socket.AF_UNIX) as one:
            here = os.open(root, os.O_PATH)  # a socket's path may not be long
            one.bind(f"/proc/self/fd/{here}/{name}")
            os.close(here)

    return step


def all_of(*steps: Step) -> Step:
    def step(root: Path) -> None:
        for one in steps:
            one(root)

    return step


def nothing(root: Path) -> None:
    """No change."""


def writes(**files: str) -> Step:
    return all_of(*(file(name, content) for name, content in files.items()))


base = all_of(
    folder("etc"),
    file("etc/hosts", "127.0.0.1 localhost"),
    link("etc/hosts", "etc/hosts.allow"),
    folder("usr/local/lib"),
    file("usr/local/lib/libnone.so", "\0\0", 0o755),
    symlink("libnone.so", "usr/local/lib/libnone.so.2"),
    folder("home"),
    folder("home/ada", 0o700),
)
more_hosts = file("etc/hosts", "127.0.0.1 localhost.localdomain")
with_passwd = all_of(folder("etc"), file("etc/passwd", "inside"))

_links = {
    "relative": all_of(
        symlink("../other", "home/ada/other"),
        symlink("../../etc", "home/ada/etc"),
        symlink("up/../../other", "home/ada/updown"),
    ),
    "out and further": symlink("../../../out", "home/ada/out"),
    "above the root": symlink("../../out", "out"),
    "up and out": symlink("etc/../../upandout", "out"),
    "down and out": symlink("ada/../../../downandout", "home/out"),
    "absolute": symlink("/etc", "localetc"),
}
_programs = all_of(folder("bin"), folder("sbin"), file("bin/super", "\0\0", 0o755))

#: What is done to one tree, step by step; each step is a layer.
ROUNDS: dict[str, tuple[Step, ...]] = {
    **{f"a link {name}": (all_of(base, step),) for name, step in _links.items()},
    "a link's target": (
        all_of(_programs, symlink("../bin/super", "bin/other1")),
        all_of(
            gone("bin/other1"),
            symlink("/bin/super", "bin/other1"),
            symlink("../bin/super", "bin/other2"),
            symlink("super", "bin/other3"),
        ),
    ),
    "a link of a link": (
        all_of(_programs, symlink("../bin/super", "sbin/super"), symlink("../sbin/super", "bin/other1")),
        all_of(gone("bin/other1"), symlink("/sbin/super", "bin/other1"), symlink("super", "bin/other2")),
    ),
    "a link that stays": (
        all_of(_programs, symlink("super", "bin/link"), symlink("../bin/link", "bin/1"), symlink("link", "bin/2")),
        all_of(gone("bin/1"), gone("bin/2"), symlink("/bin/link", "bin/1"), symlink("link", "bin/2")),
    ),
    "a link becomes a directory": (
        all_of(_programs, symlink("super", "bin/app")),
        all_of(gone("bin/app"), folder("bin/app")),
    ),
    "changes": (
        base,
        all_of(
            more_hosts,
            file("etc/fstab", "/dev/sda1\t/\text4\tdefaults 1 1\n", 0o600),
            file("etc/bad", "", 0o666),
            file("home/ada/.zshrc", "# a shell\n", 0o640),
        ),
        all_of(gone("etc/bad"), moved("home/ada", "home/eve")),
        all_of(gone("usr"), gone("etc/hosts.allow")),
        all_of(
            gone("home"),
            folder("home"),
            folder("home/ada", 0o700),
            file("home/ada/.bashrc", "# stays\n", 0o640),
            link("etc/hosts", "etc/hosts.allow"),
        ),
    ),
    "deletions": (
        all_of(folder("test"), folder("test/some"), folder("lib", 0o700), file("lib/hidden")),
        all_of(
            file("test/a"),
            file("test/b"),
            folder("test/other"),
            file("test/other/.empty"),
            gone("lib"),
            folder("lib", 0o700),
            file("lib/not-hidden"),
        ),
        all_of(gone("test/a"), gone("test/b"), gone("test/other"), file("lib/new")),
    ),
    "updates": (
        all_of(folder("d1"), folder("d2", 0o700), file("d1/f1", "some"), file("d1/f2", "else"), file("d1/f3", "all")),
        all_of(
            file("d1/f1", "of another length", 0o664),
            gone("d1/f3"),
            file("d1/f3", "updated", 0o664),
            mode("d1/f2", 0o766),
            mode("d2", 0o777),
        ),
    ),
    "modes of directories": (
        all_of(folder("d1", 0o700), folder("d2", 0o751), folder("d3", 0o777)),
        all_of(
            file("d1/f", "any"), folder("d1/d", 0o700), file("d1/d/f", "any"), file("d2/f", "any"), file("d3/f", "any")
        ),
    ),
    "modes of directories above": (
        all_of(
            *(folder(name, 0o700) for name in ("d1", "d1/a", "d1/a/b", "d1/a/b/c")),
            file("d1/a/b/f", "content1"),
            *(folder(name, 0o751) for name in ("d2", "d2/a/b", "d2/a/b/c")),
            file("d2/a/b/f", "content1"),
        ),
        all_of(
            file("d1/a/b/f", "content1"),
            mode("d1/a/b/c", 0o700),
            file("d2/a/b/f", "of another length"),
            mode("d2/a/b/c", 0o751),
        ),
    ),
    "a new name after, of an old file": (base, more_hosts, link("etc/hosts", "etc/hosts.deny")),
    "a new name before, of an old file": (base, more_hosts, link("etc/hosts", "etc/before-hosts")),
    "a new name before, of a new file": (
        base,
        more_hosts,
        all_of(
            gone("etc/hosts"), file("etc/hosts", "127.0.0.1 localhost"), link("etc/hosts", "etc/before-hosts")
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Two trees, and what the layer between them holds: as much of each entry as the first one has."""

    name: str
    before: Step
    change: Step
    entries: list[tuple]


def _folder(name: str, bits: int = 0o755) -> tuple:
    return name.rstrip("/"), DIRECTORY, bits, ""


def _file(name: str, content: str, bits: int = 0o644) -> tuple:
    return name, REGULAR, bits, content


def _name(name: str, of: str) -> tuple:
    return name, LINK, 0o644, of


def _gone(name: str) -> tuple:
    return name, REGULAR, 0, ""


def _one(*names: str) -> Step:
    return all_of(*(file(name, "one file") for name in names))


DIFFS = [
    Difference(
        "directories above come first",
        all_of(folder("d1"), folder("d2", 0o770)),
        all_of(folder("d1/d", 0o700), file("d2/f", "ok")),
        [_folder("d1/"), _folder("d1/d/", 0o700), _folder("d2/", 0o770), _file("d2/f", "ok")],
    ),
    Difference(
        "a new name brings the old one with it",
        all_of(
            *(folder(f"d{number}") for number in range(1, 7)),
            _one("d1/f1", "d2/f1", "d4/f1", "d5/f1"),
            link("d1/f1", "d6/l1"),
            link("d5/f1", "d6/l2"),
        ),
        all_of(link("d1/f1", "d2/l1"), link("d4/f1", "d3/l1"), gone("d6/l1"), gone("d6/l2")),
        [
            _folder("d2/"), _file("d2/l1", "one file"), _folder("d1/"), _name("d1/f1", "d2/l1"),
            _folder("d3/"), _file("d3/l1", "one file"), _folder("d4/"), _name("d4/f1", "d3/l1"),
            _folder("d6/"), _gone("d6/.wh.l1"), _gone("d6/.wh.l2"),
        ],
    ),
    Difference(
        "a directory's new mode is said once",
        all_of(folder("d1"), folder("d2", 0o770)),
        all_of(mode("d1", 0o777), folder("d1/d", 0o700), file("d2/f", "ok")),
        [_folder("d1/", 0o777), _folder("d1/d/", 0o700), _folder("d2/", 0o770), _file("d2/f", "ok")],
    ),
    Difference(
        "a new name where the directory above changed too",
        all_of(*(folder(f"d{number}") for number in range(1, 5)), _one("d1/f1", "d2/f1", "d3/f1")),
        all_of(mode("d1", 0o777), link("d1/f1", "d2/l1"), mode("d4", 0o777), link("d3/f1", "d4/l1")),
        [
            _folder("d1/", 0o777), _folder("d2/"), _file("d2/l1", "one file"), _name("d1/f1", "d2/l1"),
            _folder("d4/", 0o777), _file("d4/l1", "one file"), _folder("d3/"), _name("d3/f1", "d4/l1"),
        ],
    ),
    Difference(
        "directories above come before what is gone",
        all_of(
            *(folder(f"d{number}") for number in range(1, 6)),
            _one("d1/f1", "d2/f1", "d2/f2", "d3/f1", "d4/f1", "d5/f1"),
        ),
        all_of(
            gone("d1/f1"), gone("d2/f1"), mode("d2/f2", 0o777), gone("d3/f1"), _one("d3/f2"), gone("d4/f1"),
            _one("d4/f0"), gone("d5"),
        ),
        [
            _folder("d1/"), _gone("d1/.wh.f1"),
            _folder("d2/"), _gone("d2/.wh.f1"), _file("d2/f2", "one file", 0o777),
            _folder("d3/"), _gone("d3/.wh.f1"), _file("d3/f2", "one file"),
            _folder("d4/"), _file("d4/f0", "one file"), _gone("d4/.wh.f1"),
            _gone(".wh.d5"),
        ],
    ),
    Difference(
        "a directory that is gone is one entry",
        all_of(folder("d1"), folder("d2"), _one("d2/f1")),
        all_of(gone("d1"), gone("d2"), folder("d3")),
        [_gone(".wh.d1"), _gone(".wh.d2"), _folder("d3/")],
    ),
    Difference(
        "a socket is left out",
        file("f1", "content"),
        all_of(file("f2", "content"), listening("s0"), file("f3", "content")),
        [_file("f2", "content"), _file("f3", "content")],
    ),
]  # fmt: skip
