"""docs/proxy-plugin.md, both ways: real containerd over our content store, and ours over a third daemon's."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.peers import containerd, holdfast
from tests.peers.test_ctr_store import archive, oci_layout

pytestmark = pytest.mark.peer

DOC = (Path(__file__).parents[2] / "docs" / "proxy-plugin.md").read_text()
HELLO = b"through the proxy\n"
DIGEST = f"sha256:{hashlib.sha256(HELLO).hexdigest()}"


def snippet(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.S)[number]


def ctr(address: str, *arguments: str, given: bytes = b"") -> str:
    command = [containerd.peer("ctr"), "--address", address, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def settle(address: str) -> None:
    """Have the collection after the start behind us: nothing holds what ``ctr content ingest`` writes."""
    ctr(address, "leases", "create", "--id", "settle")
    ctr(address, "leases", "rm", "--sync", "settle")


@pytest.fixture
def plain():
    """Holdfast as the document configures it."""
    with tempfile.TemporaryDirectory(prefix="h") as name:
        settings = yaml.safe_load(holdfast.CONFIG.format(directory=name))
        settings["disabled_plugins"] = yaml.safe_load(snippet("yaml"))["disabled_plugins"]
        with holdfast.running(Path(name), yaml.safe_dump(settings)) as (address, _):
            yield Path(name), address


def test_containerd_keeps_its_content_with_us(plain):
    place, address = plain
    _, _, rest = snippet("toml").partition("version = 2\n")
    proxied = rest.replace("/run/holdfast/content.sock", address)
    proxied = proxied.replace('["', '["io.containerd.grpc.v1.cri", "')
    with tempfile.TemporaryDirectory(prefix="c") as name:
        config = containerd.CONFIG.replace('disabled_plugins = ["io.containerd.grpc.v1.cri"]\n', "")
        head, _, tail = config.partition("[grpc]")
        top, _, tables = proxied.partition("[proxy_plugins")
        whole = f"{head}{top}[grpc]{tail}[proxy_plugins{tables}"
        with containerd.running(Path(name), whole) as containerd_address:
            settle(containerd_address)
            assert "python" in ctr(containerd_address, "plugins", "ls", "type==io.containerd.content.v1")
            ctr(containerd_address, "content", "ingest", "ref", given=HELLO)
            assert HELLO.decode() == ctr(containerd_address, "content", "get", DIGEST)
            blob = place / "root" / "io.containerd.content.v1.content" / "blobs" / "sha256" / DIGEST[7:]
            assert blob.read_bytes() == HELLO
            archive(Path(name) / "image.tar", oci_layout("example.com/tiny:1"))
            ctr(containerd_address, "images", "import", "--no-unpack", f"{name}/image.tar")
            assert len(ctr(containerd_address, "content", "ls", "-q").split()) >= 3
            ctr(containerd_address, "images", "rm", "--sync", "example.com/tiny:1")
            ctr(containerd_address, "content", "rm", DIGEST)
            settle(containerd_address)
            assert list(blob.parent.iterdir()) == []
            assert ctr(containerd_address, "content", "ls", "-q") == ""


def test_we_keep_our_content_with_another(plain):
    place, address = plain
    with tempfile.TemporaryDirectory(prefix="h") as name:
        proxied = yaml.safe_load(snippet("yaml", 1).replace("/run/elsewhere/content.sock", address))
        settings = {**yaml.safe_load(holdfast.CONFIG.format(directory=name)), **proxied}
        with holdfast.running(Path(name), yaml.safe_dump(settings)) as (ours, _):
            assert "elsewhere" in ctr(ours, "plugins", "ls", "type==io.containerd.content.v1")
            settle(ours)
            ctr(ours, "content", "ingest", "ref", given=HELLO)
            assert HELLO.decode() == ctr(ours, "content", "get", DIGEST)
            blobs = place / "root" / "io.containerd.content.v1.content" / "blobs" / "sha256"
            assert [DIGEST[7:]] == [path.name for path in blobs.iterdir()]
            ctr(ours, "content", "rm", DIGEST)
            settle(ours)
            assert list(blobs.iterdir()) == []
