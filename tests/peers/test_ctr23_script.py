"""One script of ``ctr`` 2.3 to a real containerd 2.3 and to holdfast: line by line the same, its events too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest

from tests.needs import path_of, peer, root
from tests.peers import daemon, holdfast
from tests.peers.case import SHARED, an_exit
from tests.peers.daemon import write_config
from tests.peers.test_ctr_store import (
    CONTAINERS,
    CONTENT,
    IMAGES,
    LEASES,
    NAMESPACED,
    NAMESPACES,
    archive,
    oci_layout,
    said,
)
from tests.running import PATIENCE_S, Running

CTR = "containerd23/ctr"
pytestmark = [peer("containerd23/containerd", CTR), root]

ABOUT = [
    "version",
    *(
        f"plugins ls id=={uri.rpartition('.')[2]},type=={uri.rpartition('.')[0]}"
        for uri in SHARED
        if "leases-" not in uri
    ),
    "plugins ls type==io.containerd.metrics.v1,id==grpc-otel",
    *(
        f"plugins ls type==io.containerd.server.v1,id=={name}"
        for name in ("grpc", "grpc-tcp", "ttrpc", "debug", "metrics")
    ),
    "plugins ls -q id==bolt,type==io.containerd.metadata.v1",
    "plugins ls id==nothing",
    "events --help",
    "run example.com/nothing:1 c1",
    "images check",
    "images usage example.com/nothing:1",
    "content fetch nothing",
    "content edit nothing",
    "snapshots --snapshotter nothing ls",
]
#: What was removed before is collected at once: no collection comes later, between an ingest and its lease.
SETTLE = [("leases create --id settle", b""), ("leases rm --sync settle", b"")]
PARTS = ([(words, b"") for words in ABOUT], NAMESPACES, LEASES, CONTENT, IMAGES, CONTAINERS, NAMESPACED)
SCRIPT = [command for part in PARTS for command in (*SETTLE, *part)]
#: By default these ask the transfer service, which holdfast does not have (docs/containerd-differences.md).
TRANSFERS = re.compile(r"\bimages (import|tag|export) ")
NO_TRANSFER = "(holdfast has no transfer service; with --local ctr image pull, import, export and tag work without it)"
NO_CONTAINERS = "(holdfast runs no containers)"
UNIMPLEMENTED = "rpc error: code = Unimplemented desc = unknown service"
#: What a user of ctr reads of the services that are not here.
ABSENT = {
    "images tag a b": f"unknown service containerd.services.transfer.v1.Transfer {NO_TRANSFER}",
    "tasks ls": f"{UNIMPLEMENTED} containerd.services.tasks.v1.Tasks {NO_CONTAINERS}",
    "sandboxes ls": f"failed to list sandboxes: unknown service containerd.services.sandbox.v1.Store {NO_CONTAINERS}",
    "snapshots ls": "snapshotter not loaded: overlayfs: invalid argument",
    "plugins inspect-runtime": "plugin io.containerd.runtime.v2.task: not found",
}
OWN = (
    (re.compile(r"(Version:|Revision:|UUID:|Go version:) .*"), r"\1 <its>"),
    (re.compile(r"WARNING: version mismatch"), ""),
)


@pytest.fixture(autouse=True)
def no_warnings(monkeypatch):
    """The one about cgroup v1 comes with every command."""
    monkeypatch.setenv("CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS", "true")


@pytest.fixture
def both(short_dir: Path) -> Iterator[tuple[str, str]]:
    """The addresses of a real containerd 2.3 and of a holdfast."""
    theirs, ours = short_dir / "c", short_dir / "h"
    theirs.mkdir()
    ours.mkdir()
    top = 'disabled_plugins = ["io.containerd.grpc.v1.cri"]'
    with daemon.containerd23(theirs, write_config(theirs, top=top)) as real, holdfast.running(ours) as (address, _):
        yield real.ready().address, address


@pytest.fixture
def folder(short_dir: Path) -> Path:
    """The script's files."""
    layout = oci_layout("example.com/tiny:1")
    archive(short_dir / "image.tar", layout)
    archive(short_dir / "broken.tar", {name: data for name, data in layout.items() if name == "oci-layout"})
    spec = {"ociVersion": "1.0.2", "process": {"args": ["true"], "cwd": "/"}, "root": {"path": "rootfs"}}
    (short_dir / "spec.json").write_text(json.dumps(spec))
    return short_dir


@contextmanager
def events(address: str) -> Iterator[Running]:
    """``ctr events`` of one daemon, subscribed."""
    with Running([path_of(CTR), "--address", address, "events"], env=dict(os.environ)) as running:
        while not any("/probe" in line for line in list(running.out)):
            publish_to(address, "/probe")
            assert not running.ended(0.1), running.said
        yield running


def publish_to(address: str, topic: str) -> None:
    command = [
        path_of("containerd23/containerd"),
        "--address",
        address,
        "publish",
        "--topic",
        topic,
        "--namespace",
        "hf",
    ]
    subprocess.run(command, input=an_exit("probe"), check=True, timeout=PATIENCE_S, capture_output=True)


def lines(address: str, folder: Path, words: str, given: bytes = b"") -> list[str]:
    """What one command prints, and its exit code, without what is a daemon's own."""
    text = "\n".join(said(address, folder, TRANSFERS.sub(r"images \1 --local ", words), given, CTR))
    for pattern, word in OWN:
        text = pattern.sub(word, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_each_command_prints_the_same_and_publishes_the_same(both, folder):
    theirs, ours = both
    with events(theirs) as of_theirs, events(ours) as of_ours:
        for words, given in SCRIPT:
            expected = lines(theirs, folder, words, given)
            assert [f"$ {words}", *expected] == [f"$ {words}", *lines(ours, folder, words, given)]
        for address in both:
            publish_to(address, "/last")
        assert published(of_theirs) == published(of_ours)


def published(running: Running) -> list[str]:
    """Namespace, topic and content of each event, in their order; several of one topic in a row are sorted.

    For each label of a command ``ctr`` sends an update, in the order of a Go map, which is none.
    """
    running.line("/last")
    found = [line.split(" UTC ", 1)[-1] for line in list(running.out) if "/probe" not in line]
    return [line for _, some in groupby(found, lambda line: line.split()[:2]) for line in sorted(some)]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A holdfast for the commands that need a service it does not have."""
    with tempfile.TemporaryDirectory(prefix="h") as name, holdfast.running(Path(name)) as (address, _):
        yield address


@pytest.mark.parametrize("words", ABSENT)
def test_ctr_says_what_is_not_here(address, tmp_path, words):
    assert said(address, tmp_path, words, b"", CTR) == ["", "--", f"ctr: {ABSENT[words]}", "", "exit 1"]
