"""One script of real ``ctr`` commands to real containerd and to ours: the same lines, the same exit codes."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests.needs import path_of
from tests.peers import containerd, holdfast

pytestmark = pytest.mark.peer

HELLO = b"hello, content\n"
DIGEST = f"sha256:{hashlib.sha256(HELLO).hexdigest()}"
ABSENT = "sha256:" + "0" * 64
FULL = "x=" + "v" * 4095  # a key and its value together: 4096 bytes are a label, one more is not
LONG = FULL + "v"
ROOT = "containerd.io/gc.root=1"

#: (arguments, standard input): ``@`` is the script's folder.
NAMESPACES = [
    ("namespaces ls -q", b""),
    ("namespaces create ns1 a=1 b=2", b""),
    ("namespaces create ns1", b""),
    ("namespaces create bad_ns!", b""),
    ("namespaces create", b""),
    ("namespaces ls", b""),
    ("namespaces label ns1 a=3 c=4", b""),
    ("namespaces ls", b""),
    ("namespaces label ns1 a=", b""),
    ("namespaces label made x=y", b""),
    ("namespaces ls", b""),
    (f"namespaces create ns2 {LONG}", b""),
    (f"namespaces create ns2 {FULL}", b""),
    (f"namespaces label ns1 {LONG}", b""),
    ("namespaces ls -q", b""),
    ("namespaces rm ns2", b""),
    ("namespaces rm nobody", b""),
    ("namespaces rm made", b""),
    ("namespaces ls -q", b""),
]
LEASES = [
    ("leases create --id l1 x=y", b""),
    ("leases create --id l1", b""),
    ("leases ls", b""),
    ("leases ls -q", b""),
    ("leases ls id==l1", b""),
    ("leases ls labels.x==z", b""),
    ("leases ls id==", b""),
    (f"leases create --id full {FULL}", b""),
    (f"leases create --id long {LONG}", b""),
    ("leases create --id bad/id!", b""),
    ("leases ls -q id==long", b""),
    ("leases rm full", b""),
    ("leases rm long", b""),
    ("leases rm bad/id!", b""),
    ("leases rm l1", b""),
    ("leases rm l1", b""),
    ("leases create --id l2 --expires 0s", b""),
    ("leases rm --sync l2", b""),
    ("leases ls", b""),
]
CONTENT = [
    ("content ls", b""),
    ("leases create --id keep", b""),
    ("content ingest ref1", HELLO),
    ("content ingest ref1", HELLO),
    (f"content label {DIGEST} {ROOT}", b""),
    ("content ls", b""),
    ("content ls -q", b""),
    (f"content get {DIGEST}", b""),
    (f"content get {ABSENT}", b""),
    ("content get sha256:xyz", b""),
    ("content get nothing", b""),
    (f"content ingest --expected-digest {DIGEST} ref2", HELLO),
    (f"content ingest --expected-digest {ABSENT} ref3", HELLO),
    ("content ingest --expected-size 3 ref4", HELLO),
    ("content active", b""),
    ("content ingest ref3", b"something else"),
    ("content active", b""),
    (f"content label {DIGEST} x=y z=", b""),
    (f"content label {DIGEST} x=", b""),
    (f"content label {DIGEST} a.b/c=d", b""),
    (f"content label {ABSENT} x=y", b""),
    (f"content label {DIGEST} {FULL}", b""),
    (f"content label {DIGEST} {LONG}", b""),
    (f"content label {DIGEST} x=y", b""),
    ("content ls labels.x==y", b""),
    ("content ls bad==", b""),
    ("content ls -q digest~=^sha256:", b""),
    (f"content rm {ABSENT}", b""),
    (f"content rm {DIGEST}", b""),
    (f"content get {DIGEST}", b""),
    ("content rm bad", b""),
    ("content ingest", b""),
]
IMAGES = [
    ("images ls", b""),
    ("images import --no-unpack @/image.tar", b""),
    ("images ls -q", b""),
    ("images ls", b""),
    ("images tag example.com/tiny:1 example.com/tiny:2", b""),
    ("images tag example.com/tiny:1 example.com/tiny:2", b""),
    ("images tag --force example.com/tiny:1 example.com/tiny:2", b""),
    ("images tag example.com/nobody:1 example.com/tiny:3", b""),
    ("images label example.com/tiny:2 q=r", b""),
    ("images label example.com/nobody:1 q=r", b""),
    (f"images label example.com/tiny:2 {LONG}", b""),
    ("images label --replace-all example.com/tiny:2 s=t", b""),
    ("images ls labels.s==t", b""),
    ("images ls name==", b""),
    ("content ls -q", b""),
    ("content prune references", b""),
    ("content ls", b""),
    ("images export @/out.tar example.com/tiny:1", b""),
    ("images rm example.com/nobody:1", b""),
    ("images rm --sync example.com/tiny:1", b""),
    ("content ls -q", b""),
    ("images rm --sync example.com/tiny:2", b""),
    ("content ls -q", b""),
    ("images ls -q", b""),
    ("images import --no-unpack @/broken.tar", b""),
    ("images import --no-unpack @/nothing.tar", b""),
]
CONTAINERS = [
    ("containers ls", b""),
    ("containers create --config @/spec.json c1", b""),
    ("containers create --config @/spec.json c1", b""),
    ("containers create --config @/spec.json bad/id", b""),
    ("containers create --config @/spec.json --label a=1 --label b=2 c2", b""),
    ("containers ls", b""),
    ("containers ls -q", b""),
    ("containers ls -q id==c2", b""),
    ("containers ls -q labels.a", b""),
    ("containers ls id==", b""),
    ("containers info c1", b""),
    ("containers info nope", b""),
    ("containers label c1 z=1", b""),
    ("containers label c1 z=", b""),
    ("containers label nope z=1", b""),
    (f"containers label c1 {LONG}", b""),
    (f"containers create --config @/spec.json --label {LONG} c3", b""),
    ("containers info c3", b""),
    ("containers rm c1", b""),
    ("containers rm c1", b""),
    ("containers rm c2", b""),
    ("containers ls", b""),
]
NAMESPACED = [
    ("-n other images ls -q", b""),
    ("-n other content ingest ref1", HELLO),
    ("-n other leases create --id l1", b""),
    ("-n bad!ns content ls", b""),
    ("namespaces ls -q", b""),
    ("-n other images import --no-unpack @/image.tar", b""),
    ("-n other containers create --config @/spec.json c1", b""),
    ("namespaces rm other", b""),
    ("-n other containers rm c1", b""),
    ("-n other images rm --sync example.com/tiny:1", b""),
    ("namespaces rm other", b""),
    ("namespaces ls -q", b""),
]


def archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def described(media_type: str, data: bytes, **more: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data), **more}


def oci_layout(name: str) -> dict[str, bytes]:
    """A whole image of one layer as an OCI layout's files."""
    layer_file = io.BytesIO()
    with tarfile.open(fileobj=layer_file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    layer = layer_file.getvalue()
    platform = {"architecture": "amd64", "os": "linux"}
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = json.dumps({**platform, "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("application/vnd.oci.image.config.v1+json", config),
            "layers": [described("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    ).encode()
    entry = described(
        "application/vnd.oci.image.manifest.v1+json",
        manifest,
        platform=platform,
        annotations={"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.split(":")[1]},
    )
    blobs = {f"blobs/sha256/{hashlib.sha256(data).hexdigest()}": data for data in (layer, config, manifest)}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    return {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": index, **blobs}


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory(prefix="s") as name:
        path = Path(name)
        layout = oci_layout("example.com/tiny:1")
        archive(path / "image.tar", layout)
        archive(path / "broken.tar", {name: data for name, data in layout.items() if name == "oci-layout"})
        spec = {"ociVersion": "1.0.2", "process": {"args": ["true"], "cwd": "/"}, "root": {"path": "rootfs"}}
        (path / "spec.json").write_text(json.dumps(spec))
        yield path


@pytest.fixture(scope="module")
def theirs():
    with tempfile.TemporaryDirectory(prefix="c") as directory, containerd.running(Path(directory)) as address:
        yield address


@pytest.fixture(scope="module")
def ours():
    with tempfile.TemporaryDirectory(prefix="h") as directory, holdfast.running(Path(directory)) as (address, _):
        yield address


_CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4} UTC|Z)?"), "<time>"),
    (re.compile(r"Less than a second|About an? \w+|\d+ (seconds?|minutes)"), "<age>"),  # units.HumanDuration
    (re.compile(r"elapsed: *[0-9.]+ *m?s"), "elapsed: <age>"),
    (re.compile(r"total: *[0-9.]+ \w+ *\([^)]*\)"), "total: <size>"),
    (re.compile(r"ref \S+/\d+/"), "ref <ns>/"),
    (re.compile(r"(: invalid argument)+"), ": invalid argument"),  # containerd says it twice for some filters
    (re.compile(r"label key and value length \(\d+ bytes\)"), "label key and value"),  # docs/containerd-differences.md
    (re.compile(r": invalid argument: unknown"), ": invalid argument"),  # the same; 1.6 forgets a code
    (re.compile(r"[ \t]+"), " "),
)
_LABELS = re.compile(r"[^\s,]+=[^\s,]*(?:,[^\s,]+=[^\s,]*)+")  # a Go map's order is another each time


def said(address: str, folder: Path, arguments: str, given: bytes = b"", program: str = "ctr") -> list[str]:
    """Return what one command printed, and its exit code, without what differs from run to run."""
    command = [path_of(program), "--address", address, *arguments.replace("@", str(folder)).split()]
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    text = f"{done.stdout.decode(errors='replace')}\n--\n{done.stderr.decode()}\n"
    for pattern, word in _CHANGING:
        text = pattern.sub(word, text)
    text = _LABELS.sub(lambda found: ",".join(sorted(found[0].split(","))), text)
    lines = [line.rstrip() for line in text.replace(address, "<address>").splitlines()]
    if arguments == "content active":  # containerd lists a map
        lines.sort()
    return [*lines, f"exit {done.returncode}"]


@pytest.mark.parametrize(
    "script",
    [NAMESPACES, LEASES, CONTENT, IMAGES, CONTAINERS, NAMESPACED],
    ids=["namespaces", "leases", "content", "images", "containers", "namespaced"],
)
def test_ctr_says_the_same_of_both(script, folder, theirs, ours):
    for address in (theirs, ours):  # what was removed before is collected before: no collection comes in between
        said(address, folder, "leases create --id settle", b"")
        said(address, folder, "leases rm --sync settle", b"")
    for arguments, given in script:
        expected = said(theirs, folder, arguments, given)
        assert [f"$ {arguments}", *expected] == [f"$ {arguments}", *said(ours, folder, arguments, given)]
