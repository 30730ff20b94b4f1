"""docs/proxy-plugin.md for layers: real containerd over our differ, ours over a containerd's differ and snapshots."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.install.pages import block
from tests.needs import path_of, peer, root
from tests.peers import containerd, holdfast
from tests.peers.layers import OCI, bind, dialled, digest, tree
from tests.peers.test_ctr_store import archive
from tests.peers.test_diff import above, base, grown, without_devices
from tests.peers.test_proxy_content import snippet

pytestmark = [peer("containerd", "containerd2/containerd", "ctr"), root]


def ctr(address: str, *arguments: str) -> str:
    command = [path_of("ctr"), "--address", address, "--namespace", "hf", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def settings(place: Path, **more: object) -> str:
    return yaml.safe_dump({**yaml.safe_load(holdfast.CONFIG.format(directory=place)), **more})


@pytest.fixture
def containerd2(short_dir):
    """Starts containerd 2 with our differ as its only one: its address, and our folder."""
    theirs, ours = short_dir / "c", short_dir / "h"
    theirs.mkdir()
    ours.mkdir()
    differ = yaml.safe_load(snippet("yaml", 2).replace("/run/containerd/containerd.sock", f"{theirs}/c.sock"))
    differ.pop("grpc")
    proxied = snippet("toml", 1).partition("version = 2\n")[2].replace("/run/holdfast/diff.sock", f"{ours}/h.sock")
    config = containerd.CONFIG.replace('disabled_plugins = ["io.containerd.grpc.v1.cri"]\n', "") + proxied
    with (
        holdfast.running(ours, settings(ours, **differ)),
        containerd.running(theirs, config, program=path_of("containerd2/containerd")) as address,
    ):
        yield address, ours


async def test_containerd_has_its_layers_applied_and_made_by_us(containerd2, tmp_path):
    address, ours = containerd2
    older, newer = grown(tmp_path)
    target = tmp_path / "target"
    target.mkdir()
    listed = ctr(address, "plugins", "ls", "type==io.containerd.differ.v1")
    assert re.search(r"io\.containerd\.differ\.v1 +python .* ok", listed), listed
    async with dialled(address) as daemon:
        applied = await daemon.apply(base(), bind(target))
        assert digest(base()) == applied.digest
        assert os.readlink(target / "sbin") == "/bin"
        whole = await daemon.diff([], bind(older))
        layer = await daemon.diff(bind(older), bind(newer))
        again = tmp_path / "again"
        again.mkdir()
        for made in (whole, layer):
            await daemon.apply(without_devices(await daemon.get(made.digest)), bind(again))
    without_times = {path: (*about[:3], *about[4:]) for path, about in tree(again).items()}
    expected = {path: (*about[:3], *about[4:]) for path, about in tree(newer).items() if path != "device"}
    assert expected == without_times
    log = (ours / "log").read_text()
    assert log.count('msg="diff applied"') == 3
    assert not (ours / "root/io.containerd.content.v1.content").exists(), "every byte is containerd's"


def test_ctr_unpacks_an_image_through_our_differ(containerd2, tmp_path):
    address, ours = containerd2
    archive(tmp_path / "image.tar", an_image([base(), above()]))
    ctr(address, "images", "import", "--snapshotter", "native", str(tmp_path / "image.tar"))
    assert (ours / "log").read_text().count('msg="diff applied"') == 2
    assert len(re.findall(r"Committed *$", ctr(address, "snapshots", "--snapshotter", "native", "ls"), re.M)) == 2


def test_the_commands_of_the_page_print_what_it_shows(containerd2, tmp_path):
    address, ours = containerd2
    archive(tmp_path / "image.tar", an_image([base(), above()]))
    (tmp_path / "holdfast.log").symlink_to(ours / "log")
    (tmp_path / "ctr").symlink_to(path_of("ctr"))
    environ = {"CONTAINERD_ADDRESS": address, "CONTAINERD_NAMESPACE": "hf", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    session = block("docs/proxy-plugin.md", "ctr images import")
    for command, shown in zip(session.commands, session.shown, strict=True):
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=True
        )
        assert unmeasured(done.stdout) == unmeasured("\n".join(shown)), command


def unmeasured(text: str) -> list[list[str]]:
    """The words of each line without digests, times and sizes."""
    text = re.sub(r"sha256:[0-9a-f]{64}|(?<=seconds=)[0-9.]+|(?<=size=)[0-9]+", "…", text)
    return [line.split() for line in text.splitlines()]


def an_image(layers: list[bytes]) -> dict[str, bytes]:
    """An OCI layout of plain layers."""
    blobs = {}

    def blob(data: bytes, kind: str) -> dict[str, object]:
        blobs[f"blobs/sha256/{digest(data)[7:]}"] = data
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    described = [blob(layer, OCI) for layer in layers]
    diffs = {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": diffs}
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), f"{kind}.config.v1+json"),
        "layers": described,
    }
    target = blob(json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
    target["annotations"] = {"io.containerd.image.name": "example.com/layered:1"}
    index = {"schemaVersion": 2, "manifests": [target]}
    return {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode(), **blobs}


@pytest.fixture
def chained(short_dir):
    """Real containerd, and ours with its differ after our own and its native snapshotter."""
    theirs, ours = short_dir / "c", short_dir / "h"
    theirs.mkdir()
    ours.mkdir()
    with containerd.running(theirs) as address:
        differs = {"io.containerd.service.v1.diff-service": {"default": ["walking", "theirs"]}}
        proxied = yaml.safe_load(snippet("yaml", 3).replace("/run/containerd/containerd.sock", address))
        assert differs == proxied["plugins"]
        with holdfast.running(ours, settings(ours, **proxied)) as (our_address, _):
            yield address, our_address


async def test_what_our_differ_does_not_do_the_next_one_is_asked(chained, tmp_path):
    theirs, ours = chained
    async with dialled(theirs) as content, dialled(ours) as daemon:
        await content.put(base())  # it applies from its own content
        await daemon.put(base())
        from holdfast.api.types.mount_pb2 import Mount as MountMessage

        target = tmp_path / "target"
        target.mkdir()
        tmpfs = MountMessage(type="tmpfs", source="tmpfs", options=["size=8m"])
        applied = await daemon.apply(base(), [tmpfs])
        assert digest(base()) == applied.digest


def test_snapshots_go_to_the_snapshotter_that_is_named(chained):
    theirs, ours = chained
    listed = ctr(ours, "plugins", "ls", "type==io.containerd.snapshotter.v1")
    assert re.search(r"io\.containerd\.snapshotter\.v1 +native .* ok", listed), listed
    native = ("snapshots", "--snapshotter", "native")
    ctr(ours, *native, "prepare", "key")
    ctr(ours, *native, "commit", "done", "key")
    ctr(ours, *native, "view", "seen", "done")
    ctr(ours, *native, "label", "done", "a=b")
    for words in (("ls",), ("info", "done"), ("usage", "done"), ("mounts", "/m", "seen"), ("tree",)):
        assert ctr(theirs, *native, *words) == ctr(ours, *native, *words)
    assert "Committed" in ctr(ours, *native, "ls")
    ctr(ours, *native, "rm", "seen")
    ctr(ours, *native, "rm", "done")
    assert ctr(theirs, *native, "ls").split() == ["KEY", "PARENT", "KIND"]
    for name, said in (("unknown", "snapshotter not loaded: unknown: invalid argument"),):
        for address in (theirs, ours):
            command = [path_of("ctr"), "-a", address, "snapshots", "--snapshotter", name, "ls"]
            refused = subprocess.run(command, capture_output=True, timeout=60, check=False)
            assert (refused.returncode, refused.stderr.decode().strip()) == (1, f"ctr: {said}")


def test_ctr_unpacks_an_image_with_our_differ_onto_a_containerds_snapshots(chained, tmp_path):
    _, ours = chained
    archive(tmp_path / "image.tar", an_image([base(), above()]))
    said = ctr(ours, "images", "import", "--snapshotter", "native", str(tmp_path / "image.tar"))
    assert re.search(r"^unpacking example\.com/layered:1 .*done$", said, re.M), said
    native = ("snapshots", "--snapshotter", "native")
    [top] = [line.split()[0] for line in ctr(ours, *native, "ls").splitlines() if len(line.split()) == 3][1:]
    ctr(ours, *native, "prepare", "work", top)
    source = re.search(r"mount -t \S+ (\S+)", ctr(ours, *native, "mounts", "/m", "work"))
    assert source is not None
    place = Path(source[1])
    assert (place / "bin" / "init").read_bytes() == b"through the link"
    assert not (place / "gone").exists()
    (place / "added").write_text("by the container")
    (place / "twice").unlink()
    command = [path_of("ctr"), "-a", ours, "-n", "hf", *native, "diff", "work"]
    layer = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(layer)) as made:
        assert made.getnames() == ["added", ".wh.twice"]
