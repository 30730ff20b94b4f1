"""Contract of every differ: the cases of containerd's own suites for unpacking and making layers (``archive``).

A test module subclasses these with a ``differ`` fixture, a `tests.peers.layers.Daemon`: ours in process, ours and real
containerds over gRPC. What a case starts from, and what is changed, are steps: functions of a directory. ``refuses``
says that a differ refuses what leads out of the root, where others bend it back in; both keep it inside.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from holdfast.errors import HoldfastError

from tests.contracts import layer_scenes as scenes
from tests.contracts.content import ROOT
from tests.contracts.layer_links import INSIDE
from tests.contracts.layer_scenes import done
from tests.peers.layers import CAPABILITY, OCI, Made, bind, digest, entries, merged, overlay, tree, xattr

DIRECTORY, SYMLINK, LINK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
GZIP = f"{OCI}+gzip"


def shown(root) -> dict[str, tuple]:
    """A tree without its times: a layer's directories have those of what was last made in them.

    The first name of a file says no more than its last one: an overlay counts names of layers below, too.
    """
    return {
        path: (perms, uid, gid, content, "" if same == path else same, xattrs)
        for path, (perms, uid, gid, _, content, same, xattrs) in tree(root).items()
    }


class ApplyContract:
    refuses = False

    @pytest.fixture
    def root(self, tmp_path):
        """A root that layers go to, between things they must not reach."""
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "passwd").write_text("outside")
        (tmp_path / "root").mkdir()
        yield tmp_path / "root"
        assert (tmp_path / "etc" / "passwd").read_text() == "outside"
        assert [path.name for path in (tmp_path / "etc").iterdir()] == ["passwd"]

    @pytest.mark.parametrize("scene", INSIDE, ids=lambda scene: scene.name)
    async def test_whatever_links_a_layer_has_it_stays_inside(self, differ, root, scene):
        scene.before(root)
        applying = differ.apply(scene.layer(), bind(root))
        if self.refuses and scene.leads_out:
            with pytest.raises(HoldfastError, match="out of the root"):
                await applying
            return
        await applying
        scene.after(root)

    @pytest.mark.parametrize("name", [".wh...", "etc/.wh...", ".wh..", "etc/.wh.."])
    async def test_a_whiteout_of_a_directory_itself_is_refused(self, differ, root, name):
        scenes.with_passwd(root)
        with pytest.raises(HoldfastError):
            await differ.apply(Made().add(name).bytes, bind(root))
        assert (root / "etc" / "passwd").read_text() == "inside"

    async def test_a_link_to_a_file_outside_does_not_change_it(self, differ, root, tmp_path):
        outside = tmp_path / "perm400"
        outside.write_text("...")
        outside.chmod(0o400)
        there = tmp_path / "also-outside"
        there.write_text("...")
        made = Made().add(str(there), kind=SYMLINK, linkname=str(outside), mode=0o777)
        await differ.apply(made.add("sketchylink", kind=LINK, linkname=str(there), mode=0o777).bytes, bind(root))
        assert (oct(outside.stat().st_mode & 0o777), there.read_text()) == ("0o400", "...")

    async def test_directories_are_made_with_all_above_them(self, differ, root):
        (root / "etc").mkdir()
        made = Made()
        for name in ("/etc/sub", "/etc/sub2/", "/etc/sub2/more", "/other/none-1/1", "/other/none-2/2/"):
            made.add(name, kind=DIRECTORY)
        await differ.apply(made.bytes, bind(root))
        for name in ("etc/sub", "etc/sub2/more", "other/none-1/1", "other/none-2/2"):
            assert (root / name).is_dir()

    @pytest.mark.parametrize(("key", "value"), [("user__key", b"value"), ("security__capability", CAPABILITY)])
    async def test_extended_attributes_are_set(self, differ, root, key, value):
        await differ.apply(Made().add("file", mode=0o755, pax_headers=xattr(**{key: value})).bytes, bind(root))
        assert os.getxattr(root / "file", key.replace("__", ".")) == value

    async def test_what_the_tar_command_packs_is_unpacked(self, differ, root, tmp_path):
        given = done(tmp_path / "given", scenes.base)
        packed = subprocess.run(["tar", "c", "-C", given, "."], capture_output=True, check=True).stdout
        applied = await differ.apply(packed, bind(root))
        assert shown(given) == shown(root)
        assert (digest(packed), len(packed)) == (applied.digest, applied.size)

    async def test_a_layer_that_is_not_whole_is_refused(self, differ, root):
        data = Made().add("file", b"x" * 5000).bytes[:3000]
        with pytest.raises(HoldfastError):
            await differ.apply(data, bind(root))


class DiffContract:
    @pytest.mark.parametrize("scene", scenes.DIFFS, ids=lambda scene: scene.name)
    async def test_a_layer_names_what_changed_and_the_directories_above_it(self, differ, tmp_path, scene):
        older = done(tmp_path / "older", scene.before)
        newer = done(copied(older, tmp_path / "newer"), scene.change)
        layer = await differ.diff(bind(older, "ro"), bind(newer, "ro"), labels=ROOT)
        assert (layer.media_type, layer.size) == (OCI, len(await differ.get(layer.digest)))
        assert scene.entries == [entry[: len(scene.entries[0])] for entry in named(await differ.get(layer.digest))]

    async def test_the_tar_command_unpacks_what_is_packed(self, differ, tmp_path):
        given, target = done(tmp_path / "given", scenes.base), done(tmp_path / "target")
        layer = await differ.diff([], bind(given, "ro"), labels=ROOT)
        data = await differ.get(layer.digest)
        subprocess.run(["tar", "x", "-C", target], input=data, check=True)
        assert shown(given) == shown(target)

    async def test_nothing_changed_is_an_empty_layer(self, differ, tmp_path):
        older = done(tmp_path / "older", scenes.base)
        newer = copied(older, tmp_path / "newer")
        layer = await differ.diff(bind(older, "ro"), bind(newer, "ro"), labels=ROOT)
        assert named(await differ.get(layer.digest)) == []

    async def test_a_packed_layer_says_what_it_unpacks_to(self, differ, tmp_path):
        given, target = done(tmp_path / "given", scenes.base), done(tmp_path / "target")
        layer = await differ.diff([], bind(given, "ro"), GZIP, labels={"mine": "1", **ROOT})
        applied = await differ.applied(layer, bind(target))
        labels = (await differ.content.info(layer.digest)).labels
        assert (labels["mine"], labels["containerd.io/uncompressed"]) == ("1", applied.digest)
        assert shown(given) == shown(target)


class RoundContract:
    """A difference that is applied makes the newer tree of the older one."""

    @pytest.mark.parametrize("steps", scenes.ROUNDS.values(), ids=list(scenes.ROUNDS))
    async def test_layers_one_after_the_other_make_the_tree(self, differ, tmp_path, steps):
        target, expected = done(tmp_path / "target"), done(tmp_path / "expected")
        for number, step in enumerate(steps):
            newer = done(copied(target, tmp_path / f"newer{number}"), step)
            layer = await differ.diff(bind(target, "ro"), bind(newer, "ro"), labels=ROOT)
            await differ.applied(layer, bind(target))
            assert shown(done(expected, step)) == shown(target), number

    @pytest.mark.parametrize("steps", scenes.ROUNDS.values(), ids=list(scenes.ROUNDS))
    async def test_layers_one_over_the_other_make_the_tree(self, differ, tmp_path, steps):
        tops = done(tmp_path / "0"), done(tmp_path / "expected0")
        lowers, expected = [tops[0]], tops[1]
        for number, step in enumerate(steps):
            before = copied(expected, tmp_path / f"before{number}")
            done(expected, step)
            layer = await differ.diff(bind(before, "ro"), bind(expected, "ro"), labels=ROOT)
            upper, work = done(tmp_path / f"u{number}" / "upper"), done(tmp_path / f"u{number}" / "work")
            mounts = overlay(upper, work, *lowers)
            await differ.applied(layer, mounts)
            with merged(mounts) as path:
                assert shown(expected) == shown(path), number
            lowers = [upper, *lowers]


class LaterDiffContract:
    """Cases of containerd 2, which 1.6 does not know."""

    async def test_no_time_is_later_than_the_epoch_and_the_same_trees_are_the_same_layer(self, differ, tmp_path):
        epoch, past = 1_642_941_296, 1_640_995_200
        layers = []
        for attempt in ("a", "b"):
            older = done(tmp_path / f"older-{attempt}", scenes.writes(f1="content"))
            newer = done(tmp_path / f"newer-{attempt}", scenes.writes(f2="content2", f3="content3"))
            os.utime(newer / "f2", (past, past))
            layers.append(
                await differ.diff(bind(older), bind(newer), labels=ROOT, source_date_epoch={"seconds": epoch})
            )
        assert layers[0] == layers[1]
        times = [(entry[0], entry[-1]) for entry in named(await differ.get(layers[0].digest))]
        assert times == [(".wh.f1", 0), ("f2", past), ("f3", epoch)]


def named(data: bytes) -> list[tuple]:
    """Name, kind, mode, what it links to or holds, and time of each entry; of a whiteout its name says it all."""
    return [
        (name, kind, 0 if ".wh." in name else mode, link or content.decode(), when)
        for name, kind, mode, _, _, _, link, when, _, _, content in entries(data, whiteout_times=True)
    ]


def copied(tree_folder: Path, target: Path) -> Path:
    """A copy with owners, times and hard links."""
    subprocess.run(["cp", "-a", tree_folder, target], check=True)
    return target
