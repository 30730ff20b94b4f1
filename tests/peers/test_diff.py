"""The differ beside real containerd's: the same layers applied by both, the same trees compared by both."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import re
import stat
import tarfile
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from holdfast.api.types.mount_pb2 import Mount as MountMessage
from holdfast.errors import Code, HoldfastError

from tests.needs import peer, root
from tests.peers import containerd, holdfast
from tests.peers.layers import CAPABILITY, OCI, Made, bind, dialled, digest, entries, merged, overlay, tree, xattr

pytestmark = [peer("containerd"), root]

ZSTD = f"{OCI}+zstd"
GZIP = f"{OCI}+gzip"
GARBAGE = b"not a layer" * 100
DIRECTORY, SYMLINK, LINK, FIFO = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE


def base() -> bytes:
    made = Made()
    made.add("./", kind=DIRECTORY, mode=0o700)
    made.add("./bin/", kind=DIRECTORY, mode=0o2755, mtime=1_500_000_000.25)
    made.add("bin/su", b"#!", mode=0o4755, uid=1000, gid=2000)
    same = {"mode": 0o4755, "uid": 1000, "gid": 2000, "pax_headers": xattr(security__capability=CAPABILITY)}
    made.add("bin/sudo", kind=LINK, linkname="bin/su", **same)
    made.add("sbin", kind=SYMLINK, linkname="/bin", uid=7)
    made.add("dangling", kind=SYMLINK, linkname="nowhere/at all")
    made.add("sbin/init", b"through the link", mtime=1_234_567_890.123456789)
    made.add("tmp", kind=DIRECTORY, mode=0o1777)
    made.add("run/fifo", kind=FIFO, mode=0o622)
    made.add("implicit/parents/file", b"x" * 3_000_000)
    made.add("etc/user", b"attributed", pax_headers=xattr(user__key=b"value"))
    made.add("old", b"before 1970", mtime=-1)
    made.add("/absolute", b"a leading slash")
    made.add("up/../down", b"a name that is cleaned")
    made.add("d" * 90 + "/" + "f" * 200, b"a long name")
    made.add("näme", "ünicode".encode())
    made.add("twice", b"first")
    made.add("twice", b"second", mode=0o600)
    made.add("uid", b"", uid=3_000_000, gid=4_000_000)
    for name in ("gone", "dir/a", "dir/b", "opaque/a", "opaque/sub/b", "file-to-dir", "dir-to-file/x"):
        made.add(name, name.encode())
    made.add("link-to-file", kind=SYMLINK, linkname="twice")
    return made.bytes


def above() -> bytes:
    made = Made(tarfile.GNU_FORMAT)
    made.add(".wh.gone")
    made.add(".wh.never-was")
    made.add("dir/.wh.a")
    made.add("opaque/fresh", b"comes before its marker")
    made.add("opaque/.wh..wh..opq")
    made.add("opaque/later", b"comes after it")
    made.add("file-to-dir", kind=DIRECTORY)
    made.add("file-to-dir/x", b"x")
    made.add("dir-to-file", b"a file now")
    made.add("link-to-file", b"the link goes, not its target")
    made.add("bin", kind=DIRECTORY, mode=0o711, uid=5)
    made.add("gnu/" + "n" * 150, b"a GNU long name")
    return made.bytes


@pytest.fixture(scope="module")
def places():
    with (
        tempfile.TemporaryDirectory(prefix="c") as theirs,
        tempfile.TemporaryDirectory(prefix="h") as ours,
        containerd.running(Path(theirs)) as their_address,
        holdfast.running(Path(ours)) as (our_address, _),
    ):
        yield {"containerd": (their_address, Path(theirs)), "holdfast": (our_address, Path(ours))}


@pytest.fixture
async def both(places):
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(dialled(address)) for name, (address, _) in places.items()}


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="d") as name:
        yield Path(name)


async def test_the_same_layers_make_the_same_tree(both, folder):
    found, said = {}, {}
    for name, daemon in both.items():
        target = folder / name
        target.mkdir(mode=0o755)
        layers = [(base(), OCI), (gzip.compress(above()), GZIP)]
        said[name] = [await daemon.apply(data, bind(target), kind) for data, kind in layers]
        found[name] = tree(target)
    assert found["containerd"] == found["holdfast"]
    assert said["containerd"] == said["holdfast"]
    assert [digest(base()), digest(above())] == [layer.digest for layer in said["holdfast"]]
    assert found["holdfast"]["bin/su"][-1]["security.capability"] == CAPABILITY
    assert found["holdfast"]["bin/sudo"][5] == "bin/su"
    assert not {"gone", "dir/a", "opaque/a", "opaque/sub"} & found["holdfast"].keys()
    assert {"opaque/fresh", "opaque/later", "dir/b", "bin/init"} <= found["holdfast"].keys()


async def test_the_same_layers_look_the_same_through_an_overlay(both, folder):
    found = {}
    for name, daemon in both.items():
        lower, upper, work = (folder / name / part for part in ("lower", "upper", "work"))
        for part in (lower, upper, work):
            part.mkdir(parents=True)
        await daemon.apply(base(), bind(lower))
        mounts = overlay(upper, work, lower)
        await daemon.apply(above(), mounts)
        with merged(mounts) as path:
            found[name] = {path: about for path, about in tree(path).items() if not stat.S_ISDIR(int(about[0], 8))}
        assert not (upper / "näme").exists(), "what did not change is not copied"
    assert found["containerd"] == found["holdfast"]
    upper = folder / "holdfast" / "upper"
    assert os.lstat(upper / "gone").st_rdev == 0
    assert stat.S_ISCHR(os.lstat(upper / "gone").st_mode)


async def test_a_zstd_layer_and_one_that_says_nothing_of_its_packing(both, folder):
    zstd = pytest.importorskip("backports.zstd")
    docker = "application/vnd.docker.image.rootfs.diff.tar"
    for number, (packed, kind) in enumerate(
        [
            (zstd.compress(base()), ZSTD),
            (zstd.compress(base()), f"{docker}.gzip"),
            (gzip.compress(base()), docker),
            (gzip.compress(base()[:5120]) + gzip.compress(base()[5120:]), GZIP),
            (base(), f"{docker}.gzip"),
            (b"", f"{docker}.gzip"),
        ]
    ):
        found, said = {}, {}
        for name, daemon in both.items():
            target = folder / f"{name}{number}"
            target.mkdir()
            said[name] = await daemon.apply(packed, bind(target), kind)
            found[name] = tree(target)
        assert found["containerd"] == found["holdfast"], kind
        assert said["containerd"] == said["holdfast"], kind


def grown(place: Path) -> tuple[Path, Path]:
    """An older tree and a newer one, with every kind of change."""
    older, newer = place / "older", place / "newer"
    for top in (older, newer):
        top.mkdir()
        for name in ("same", "changed", "cut", "gone", "deep/in/here/gone", "deep/in/here/same", "was-dir/x", "caps"):
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        (top / "was-file").write_text("f")
        os.symlink("same", top / "link")
        os.link(top / "same", top / "same-too")
        os.link(top / "changed", top / "changed-too")
    (newer / "changed").write_text("something else")
    (newer / "gone").unlink()
    (newer / "deep/in/here/gone").unlink()
    (newer / "was-dir/x").unlink()
    (newer / "was-dir").rmdir()
    (newer / "was-dir").write_text("now a file")
    (newer / "was-file").unlink()
    (newer / "was-file").mkdir()
    (newer / "was-file/x").write_text("x")
    os.unlink(newer / "link")
    os.symlink("changed", newer / "link")
    os.setxattr(newer / "caps", "security.capability", CAPABILITY)
    os.mkfifo(newer / "fifo")
    os.mknod(newer / "device", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    (newer / ("n" * 120)).write_text("long")
    (newer / "ümlaut").write_text("ü")
    (newer / ("l" * 200)).mkdir()
    (newer / "big").write_bytes(os.urandom(2_500_000))
    os.chown(newer / "big", 70_000, 3_000_000)
    os.chmod(newer / "big", 0o6711)
    (newer / "old").write_text("old")
    for top, folders, files in [*os.walk(older), *os.walk(newer)]:
        for name in files + folders:
            os.utime(os.path.join(top, name), ns=(1_600_000_000_987_654_321,) * 2, follow_symlinks=False)
    os.utime(newer / "changed", ns=(1_600_000_001 * 10**9,) * 2)
    for top in (older, newer):
        os.utime(top / "cut", ns=(1_600_000_000 * 10**9,) * 2)  # no fraction: its content is looked at
    (newer / "cut").write_text("CUT")
    os.utime(newer / "cut", ns=(1_600_000_000 * 10**9,) * 2)
    os.utime(newer / "old", ns=(-5 * 10**9,) * 2)
    return older, newer


async def test_the_same_trees_make_the_same_layer(both, folder):
    older, newer = grown(folder)
    layers, tars = {}, {}
    for name, daemon in both.items():
        layers[name] = await daemon.diff(bind(older, "ro"), bind(newer, "ro"), labels={"a": "b"})
        tars[name] = await daemon.get(layers[name].digest)
    assert entries(tars["containerd"]) == entries(tars["holdfast"])
    assert layers["containerd"].media_type == layers["holdfast"].media_type
    assert len(tars["containerd"]) == layers["holdfast"].size
    names = [entry[0] for entry in entries(tars["holdfast"])]
    assert {".wh.gone", "deep/in/here/.wh.gone", "device", "cut", "caps", "changed-too"} <= set(names)
    assert not {"same", "same-too"} & set(names)


async def test_a_whole_tree_is_the_same_layer_to_the_byte(both, folder):
    _, newer = grown(folder)
    ours, theirs = [await both[name].diff([], bind(newer), "") for name in ("holdfast", "containerd")]
    assert ours.media_type == theirs.media_type == GZIP
    unpacked = {}
    for name, layer in (("holdfast", ours), ("containerd", theirs)):
        labels = (await both[name].content.info(layer.digest)).labels
        unpacked[name] = gzip.decompress(await both[name].get(layer.digest))
        assert labels == {"containerd.io/uncompressed": digest(unpacked[name])}
    assert unpacked["containerd"] == unpacked["holdfast"]


async def test_a_layer_made_here_is_applied_there_and_the_other_way(both, folder):
    older, newer = grown(folder)
    for maker, user in (("holdfast", "containerd"), ("containerd", "holdfast")):
        layer = await both[maker].diff(bind(older), bind(newer))
        target = folder / f"by-{maker}"
        target.mkdir()
        whole = await both[maker].diff([], bind(older))
        data = [await both[maker].get(found.digest) for found in (whole, layer)]
        if user == "holdfast":  # which refuses device nodes
            data = [without_devices(layer) for layer in data]
        for layer_data in data:
            await both[user].apply(layer_data, bind(target))
        expected = {path: (*about[:3], *about[4:]) for path, about in tree(newer).items()}
        found = {path: (*about[:3], *about[4:]) for path, about in tree(target).items()}
        if user == "holdfast":
            expected.pop("device")
        assert expected == found


def without_devices(data: bytes) -> bytes:
    raw = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as given,
        tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as kept,
    ):
        for member in given:
            if not member.ischr():
                kept.addfile(member, given.extractfile(member) if member.isreg() else None)
    return raw.getvalue()


async def test_what_cannot_be_done_is_refused_in_the_same_words(both, folder):
    said = {}
    for name, daemon in both.items():
        said[name] = []
        for attempt in (
            daemon.diff(bind(folder), bind(folder), "application/x-unknown"),
            daemon.diff(bind(folder), bind(folder), f"{OCI}+bzip2"),
            daemon.apply(b"not a layer", bind(folder), "application/x-unknown"),
            daemon.diff(bind(folder), bind(folder), labels={"k": "v" * 5000}),
            daemon.apply(GARBAGE, bind(folder)),
            daemon.missing(bind(folder)),
            daemon.apply(base(), [MountMessage(type="nonsense", source="x")]),
        ):
            with pytest.raises(HoldfastError) as refused:
                await attempt
            said[name].append((refused.value.code, refused.value.message))
    theirs, ours = said["containerd"], said["holdfast"]
    for same in (0, 1, 5):
        assert theirs[same] == ours[same]
    assert theirs[2][1] == ours[2][1]
    assert (theirs[2][0], ours[2][0]) == (Code.UNKNOWN, Code.UNIMPLEMENTED), "so that the next differ is asked"
    assert Code.INVALID_ARGUMENT == theirs[3][0] == ours[3][0]
    assert "failed to commit: info.Labels: label key and value" in theirs[3][1]
    assert ours[3][1].startswith("failed to commit: info.Labels: label key and value")
    assert "invalid tar header" in theirs[4][1]
    assert ours[4] == (Code.INVALID_ARGUMENT, f"layer {digest(GARBAGE)}: invalid tar header: a number that is none")
    assert ours[6] == (Code.UNIMPLEMENTED, 'mount type "nonsense"')


async def test_nothing_is_half_visible_after_kill_9_in_the_middle_of_a_diff(folder):
    tree_folder = folder / "tree"
    tree_folder.mkdir()
    for number in range(8):
        (tree_folder / str(number)).write_bytes(os.urandom(16 << 20))
    with holdfast.running(folder) as (address, process):
        async with dialled(address) as daemon:
            diffing = asyncio.ensure_future(daemon.diff([], bind(tree_folder), ref="half"))
            ingests = folder / "root/io.containerd.content.v1.content/ingest"
            while not any(path.stat().st_size for path in ingests.glob("*/data")):
                assert not diffing.done()
                await asyncio.sleep(0)
            process.kill()
            with pytest.raises(HoldfastError):
                await diffing
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    with holdfast.running(folder) as (address, _):
        async with dialled(address) as daemon:
            assert [info async for page in daemon.content.pages() for info in page] == []
            assert [status.ref for status in await daemon.content.statuses()] == ["half"]
            layer = await daemon.diff([], bind(tree_folder), ref="half")
            assert digest(await daemon.get(layer.digest)) == layer.digest
            assert await daemon.content.statuses() == []


async def test_memory_does_not_follow_the_size_of_a_layer(folder):
    def peak_kib() -> int:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1])

    with holdfast.running(folder) as (address, process):
        async with dialled(address) as daemon:
            peaks = []
            for mib in (8, 256):
                tree_folder, target = folder / f"tree{mib}", folder / f"target{mib}"
                tree_folder.mkdir()
                target.mkdir()
                (tree_folder / "file").touch()
                os.truncate(tree_folder / "file", mib << 20)
                for kind in (OCI, GZIP):
                    layer = await daemon.diff([], bind(tree_folder), kind)
                    assert (mib << 20) + 4096 > (await daemon.applied(layer, bind(target))).size > mib << 20
                assert (target / "file").stat().st_size == mib << 20
                peaks.append(peak_kib())
    assert peaks[1] < peaks[0] + (16 << 10), peaks
