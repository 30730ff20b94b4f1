"""containerd 2.3's own client tests, compiled from its module, against holdfast and against a real containerd 2.3.

docs/testing.md says what is left out, and why. The images come from a proxy of the test. holdfast's snapshotters are a
real containerd's; everything else is its own: content, images, leases, namespaces, containers, diff, events.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.needs import path_of, peer, root
from tests.peers import daemon, holdfast
from tests.peers.daemon import write_config
from tests.peers.image_registry import Images, serving
from tests.peers.layers import Made

SUITE = "containerd23/client.test"
pytestmark = [peer("containerd23/containerd", SUITE, "busybox", "openssl"), root]

TESTS = [
    "NewClient",
    "ClientReconnect",
    "DefaultRuntimeWithNamespaceLabels",
    "ClientTTRPC_New",
    "ClientTTRPC_Reconnect",
    "ClientTTRPC_Close",
    "ContentClient",
    "Import",
    "ExportAllCases",
    "ExportAndImport",
    "ExportAndImportMultiLayer",
    "Convert",
    "ImagePull",
    "ImagePullWithDiscardContent",
    "ImagePullAllPlatforms",
    "ImagePullSomePlatforms",
    "ImagePullWithConcurrencyLimit",
    "ImagePullWithTracing",
    "ImagePullWithConcurrentUnpacks",
    "ImagePullWithDistSourceLabel",
    "ImageIsUnpacked",
    "ImageUsage",
    "ImageSupportedBySnapshotter_Error",
    "LeaseResources",
    "SnapshotterClient",
]
#: It pulls an image by the digest that it has in its registry.
LEFT_OUT = "TestExportAllCases/export_image_setting_ocispec.AnnotationRefName"
RESULT = re.compile(r"^--- (\w+): Test(\w+)", re.M)
WITHIN_S = 300


def images() -> Images:
    """The images that the tests name, as far as they look into them."""
    made = Images()
    shell = Path(path_of("busybox")).read_bytes()
    base = Made().add("bin", kind=b"5").add("bin/busybox", shell).add("bin/sh", kind=b"2", linkname="busybox").bytes
    second = Made().add("second", b"second" * 1000).bytes
    made.add("containerd/busybox:1.36", [base])
    made.add("containerd/volume-copy-up:2.2", [base, second])
    made.add("pause:3.6", [second])
    made.add("pause:3.10.2", [second])
    made.add("e2e-test-images/busybox:1.29-2", [base], ["amd64", "arm64", "s390x", "ppc64le"])
    return made


@contextmanager
def containerd(place: Path) -> Iterator[str]:
    """The address of a real one."""
    with daemon.containerd23(
        place, write_config(place, top='disabled_plugins = ["io.containerd.grpc.v1.cri"]')
    ) as real:
        yield real.ready().address


@contextmanager
def ours(place: Path) -> Iterator[str]:
    """The address of a holdfast that has a real containerd's snapshotters."""
    (place / "c").mkdir()
    with containerd(place / "c") as snapshotters:
        settings = yaml.safe_load(holdfast.CONFIG.format(directory=place))
        proxies = {name: {"type": "snapshot", "address": snapshotters} for name in ("overlayfs", "native")}
        with holdfast.running(place, yaml.safe_dump({**settings, "proxy_plugins": proxies})) as (address, _):
            yield str(address)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The output of all tests against a daemon of one kind, which they see once."""
    known: dict[str, str] = {}

    def output(name: str) -> str:
        if name not in known:
            place = tmp_path_factory.mktemp(name[0])
            starter = {"containerd": containerd, "holdfast": ours}[name]
            with starter(place) as address, serving(images(), ["ghcr.io", "registry.k8s.io"], place) as environ:
                command = [path_of(SUITE), "-test.v", "-test.root", "-no-daemon", "-address", address]
                command += ["-test.run", f"^Test({'|'.join(TESTS)})$", "-test.skip", LEFT_OUT]
                done = subprocess.run(
                    command, env=dict(environ), cwd=place, capture_output=True, text=True, timeout=WITHIN_S, check=False
                )
            known[name] = done.stdout + done.stderr
        return known[name]

    return output


def results(output: str) -> dict[str, str]:
    return {test: result for result, test in RESULT.findall(output)}


def test_a_real_containerd_passes_them_with_these_images(outputs):
    assert results(outputs("containerd")) == dict.fromkeys(TESTS, "PASS"), outputs("containerd")


@pytest.mark.parametrize("name", [name for name in TESTS if name != "LeaseResources"])
def test_holdfast_passes(outputs, name):
    assert results(outputs("holdfast"))[name] == "PASS", outputs("holdfast")


def test_a_snapshot_of_another_process_outlives_the_image_and_the_lease_that_named_it(outputs):
    """The last step of this test, after leases that list resources, images that go and content that is collected."""
    output = outputs("holdfast")
    assert results(output)["LeaseResources"] == "FAIL"
    failed = re.findall(r"lease_test\.go:\d+: (.*)", output)
    assert failed == ["expected error(not found), but got(<nil>)"]
