"""A release, as far as it needs no credentials: `make release-dry-run` in a fresh clone with a tag, and what it made.

The Debian package is installed in a fresh Debian, and purged again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from email.parser import Parser

import holdfast
import pytest

from tests.install.machine import PATIENCE_S, checkout
from tests.install.pages import REPOSITORY, block
from tests.install.root import Root
from tests.needs import path_of, peer

pytestmark = [peer("nfpm", "helm4", "mmdebstrap", "busybox"), pytest.mark.root, pytest.mark.timeout(2 * PATIENCE_S)]
VERSION = holdfast.__version__
PAGE = "docs/operations.md"
ENVIRONMENTS = (".cache/package", ".cache/mkdocs")
OUR_GIT = ["git", "-c", "user.name=release", "-c", "user.email=release@localhost"]


def ran(*command, cwd, check=True):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Make a clone whose commit has the release's tag; it shares the environments of the build tools."""
    folder = checkout(tmp_path_factory.mktemp("release") / "holdfast")
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "release"], ["tag", f"v{VERSION}"]):
        ran(*OUR_GIT, *command, cwd=folder)
    ran("make", *(f"{name}/.installed" for name in ENVIRONMENTS), cwd=REPOSITORY)
    for lock in (folder / "requirements").glob("*.lock"):
        os.utime(lock, (0, 0))  # older than the environments that were made from it
    (folder / ".cache").mkdir()
    for name in (".venv", *ENVIRONMENTS):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


@pytest.fixture(scope="module")
def make(clone):
    """Run make in the clone, with the tag as the version."""
    tag = ran("git", "describe", "--tags", "--exact-match", cwd=clone).stdout
    words = [f"VERSION={tag.strip().removeprefix('v')}", f"NFPM={path_of('nfpm')}", f"HELM={path_of('helm4')}"]
    return lambda target: ran("make", *words, target, cwd=clone)


@pytest.fixture(scope="module")
def dist(clone, make):
    """Build everything; it changes no file that git has."""
    make("release-dry-run")
    assert ran("git", "status", "--porcelain", cwd=clone).stdout == ""
    return clone / "dist"


@pytest.fixture(scope="module")
def debian(dist, tmp_path_factory):
    """A Debian in which the package was installed, by the page."""
    (package,) = dist.glob("*.deb")
    (command,) = [line for line in block(PAGE, "apt install ./holdfast").script.splitlines() if line.startswith("apt ")]
    root = Root(tmp_path_factory.mktemp("root") / "debian", dist)
    lists = "apt-get update --quiet=2"
    root.run(f"{lists} && cd {dist} && {re.sub('holdfast_[^ ]+', package.name, command)} --yes", online=True)
    return root


def test_it_makes_everything_that_is_published(dist):
    (package,) = dist.glob("*.deb")
    assert re.fullmatch(rf"holdfast_{VERSION}-1~[a-z]+[0-9.]+_(amd64|arm64)\.deb", package.name)
    assert {path.name for path in dist.iterdir()} == {
        package.name,
        f"holdfastd-{VERSION}-py3-none-any.whl",
        f"holdfastd-{VERSION}.tar.gz",
        f"holdfast-{VERSION}.tgz",
        "holdfast.yaml",
        "SHA256SUMS",
    }
    assert len(ran("sha256sum", "--check", "SHA256SUMS", cwd=dist).stdout.splitlines()) == 5


def test_a_tag_that_is_not_the_version_of_each_file_is_refused(clone):
    done = ran("env", f"HELM={path_of('helm4')}", "deploy/release", "9.9.9", cwd=clone, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'deploy/release: service/holdfast/__init__.py has no line: __version__ = "9.9.9"\n'


def test_the_source_distribution_builds_the_same_wheel(dist, clone, tmp_path):
    (source,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    python = clone / ".cache/package/bin/python"
    ran(python, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist", cwd=unpacked)
    assert contents(tmp_path / "dist" / wheel.name) == contents(wheel)


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_the_package_and_the_files_that_commands_read(dist):
    (wheel,) = dist.glob("*.whl")
    files = contents(wheel)
    about = Parser().parsestr(files[f"holdfastd-{VERSION}.dist-info/METADATA"].decode())
    assert (about["Name"], about["Version"], about["License-Expression"]) == ("holdfastd", VERSION, "Apache-2.0")
    assert set(about.get_all("Provides-Extra")) >= {"otlp", "plugin"}
    there = {str(path.relative_to(REPOSITORY / "service")) for path in (REPOSITORY / "service/holdfast").rglob("*")}
    packed = {name for name in files if name.startswith("holdfast/")}
    assert {name for name in there if name.endswith((".py", ".in", ".yaml", ".html", "py.typed"))} - packed == set()
    assert packed - there == set()


def test_the_debian_package_is_the_same_when_it_is_built_again(dist, clone, tmp_path):
    (package,), (wheel,) = dist.glob("*.deb"), dist.glob("*.whl")
    shutil.copy(wheel, tmp_path)
    programs = [f"PIP={clone / '.cache/package/bin/pip'}", f"NFPM={path_of('nfpm')}"]
    ran("env", *programs, "deploy/deb/build", tmp_path / wheel.name, cwd=clone)
    assert (tmp_path / package.name).read_bytes() == package.read_bytes()


def test_the_debian_package_brings_the_command_its_pages_and_its_completion(debian):
    assert debian.run("holdfast --version") == f"holdfast {VERSION}\n"
    assert debian.run("dpkg --verify holdfast") == ""
    assert debian.run("readlink -f /usr/bin/holdfast") == "/opt/holdfast/bin/holdfast\n"
    pages = debian.run("ls /usr/share/man/man1 | grep ^holdfast").split()
    assert {"holdfast.1.gz", "holdfast-bundle-pull.1.gz"} <= set(pages)
    assert debian.run("zcat /usr/share/man/man1/holdfast.1.gz").startswith('.TH "HOLDFAST"')
    completes = "source /usr/share/bash-completion/completions/holdfast; complete -p holdfast"
    assert "holdfast" in debian.run(completes)
    assert debian.run("grep -rIl /tmp/ /opt/holdfast/bin /opt/holdfast/pyvenv.cfg || true") == ""


def test_systemd_finds_the_installed_unit_sound_and_it_is_enabled(debian):
    unit = "/usr/lib/systemd/system/holdfast.service"
    command = ["verify", "--man=no", "--recursive-errors=no", f"--root={debian.folder}", unit]
    done = ran(path_of("systemd-analyze"), *command, cwd=debian.folder)
    assert "holdfast" not in done.stderr
    wants = "/etc/systemd/system/multi-user.target.wants/holdfast.service"
    assert debian.run(f"readlink {wants}").strip() in (unit, unit.removeprefix("/usr"))


def test_the_installed_daemon_serves_and_writes_nothing(debian):
    (preview,) = [line for line in block(PAGE, "apt install ./holdfast").script.splitlines() if "preview" in line]
    ready = "until holdfast health >/dev/null 2>&1; do sleep 0.2; done"
    assert "Nothing was written" in debian.run(f"holdfast run 2>/tmp/log & {ready}; {preview}")


def test_it_can_be_installed_again_and_be_removed_without_its_state(debian, dist):
    (package,) = dist.glob("*.deb")
    debian.run(f"mkdir -p /var/lib/holdfast; touch /var/lib/holdfast/journal; dpkg --install {package}")
    assert debian.run("dpkg --verify holdfast; holdfast --version") == f"holdfast {VERSION}\n"
    debian.run("dpkg --remove holdfast; test -e /var/lib/holdfast/journal; test ! -e /usr/bin/holdfast")
    debian.run(f"dpkg --install {package}")


def test_a_purge_leaves_nothing(debian):
    debian.run("mkdir -p /var/lib/holdfast && touch /var/lib/holdfast/journal; dpkg --purge holdfast")
    left = debian.run("find / -xdev -path '*holdfast*' -not -path '/proc/*' -not -path '*/dist*' -prune")
    assert [line for line in left.splitlines() if not line.startswith("/var/log/")] == []


def test_the_site_is_published_as_a_version_beside_the_others(clone, tmp_path):
    origin, before = tmp_path / "origin", ran("git", "rev-parse", "HEAD", cwd=clone).stdout
    ran("git", "init", "--quiet", "--bare", origin, cwd=tmp_path)
    ran("git", "remote", "add", "origin", origin, cwd=clone)
    ran("deploy/site", VERSION, cwd=clone)
    ran("git", "branch", "--delete", "--force", "gh-pages", cwd=clone)  # another workflow, with a checkout of its own
    ran("deploy/site", "main", cwd=clone)
    minor = VERSION.rpartition(".")[0]
    versions = json.loads(ran("git", "show", "gh-pages:versions.json", cwd=origin).stdout)
    assert {(one["version"], *one["aliases"]) for one in versions} == {(minor, "latest"), ("main",)}
    files = ran("git", "ls-tree", "-r", "--name-only", "gh-pages", cwd=origin).stdout.splitlines()
    assert {"index.html", f"{minor}/index.html", f"{minor}/placement/index.html", "main/index.html"} <= set(files)
    assert 'href="latest/"' in ran("git", "show", "gh-pages:index.html", cwd=origin).stdout
    assert ran("git", "rev-parse", "HEAD", cwd=clone).stdout == before
