"""The image: the same twice, nothing in it that only a build needs, its command runs."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.image.build import BASE, BUILD_S, buildah
from tests.needs import peer
from tests.pod.bundle import Root
from tests.pod.node import adj, until

pytestmark = [
    peer("buildah", "mmdebstrap", "runc", "capsh", "helm4", "grpc-health-probe"),
    pytest.mark.root,
    pytest.mark.timeout(3 * BUILD_S),
]
VENV = "opt/holdfast"


def test_two_builds_have_one_digest(build, digest):
    assert build("second", "--no-cache") == digest


def test_what_only_a_build_needs_is_not_in_it(rootfs):
    names = {path.name for path in (rootfs / VENV).glob("lib/python3*/site-packages/*")}
    assert "holdfast" in names
    assert not {"pip", "hatchling", "pytest", "mypy", "grpc_tools"} & names
    assert not (rootfs / "build").exists()


def test_every_module_is_compiled_and_its_time_is_not_looked_at(rootfs):
    sources = list((rootfs / VENV).glob("lib/python3*/site-packages/holdfast/**/*.py"))
    assert len(sources) > 100
    for source in sources:
        (compiled,) = (source.parent / "__pycache__").glob(f"{source.stem}.cpython-*.pyc")
        assert compiled.read_bytes()[4:8] == b"\x01\x00\x00\x00", source  # PEP 552: by hash, unchecked


#: Whether the base's own library is compiled.
COMPILED = "import asyncio, logging, os; print(os.path.exists(asyncio.__cached__), os.path.exists(logging.__cached__))"
PYTHON = "/opt/holdfast/bin/python3"


def test_the_command_runs_on_a_read_only_root(rootfs, tmp_path):
    assert in_a_read_only_root(rootfs, tmp_path, ["/opt/holdfast/bin/holdfast", "--version"]).startswith("holdfast ")


def test_the_base_s_own_library_is_compiled(rootfs, tmp_path):
    assert in_a_read_only_root(rootfs, tmp_path, [PYTHON, "-c", COMPILED]) == "True True\n"


def in_a_read_only_root(rootfs, tmp_path, command):
    """Its output, run as the user ``nobody``."""
    spec = {
        "ociVersion": "1.0.2",
        "process": {
            "args": command,
            "cwd": "/",
            "user": {"uid": 65534, "gid": 65534},
        },
        "root": {"path": str(rootfs), "readonly": True},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}], "cgroupsPath": "/holdfast-test-version"},
    }
    (tmp_path / "config.json").write_text(json.dumps(spec))
    command = ["runc", "--root", tmp_path / "runc", "run", "--bundle", tmp_path, f"holdfast-test-{tmp_path.name}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def config_of(tag, flavour):
    found = json.loads(buildah("inspect", "--type", "image", f"localhost/holdfast-test:{tag}"))
    return found[flavour]["config"]


def test_the_labels_say_what_it_is_and_what_it_was_built_from(digest):
    labels = config_of("kept", "OCIv1")["Labels"]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    wanted = {"title", "description", "source", "url", "documentation", "licenses", "version", "created"}
    assert wanted <= labels.keys()
    assert (labels["revision"], labels["base.name"]) == ("test", BASE)


def test_docker_asks_the_daemon_s_own_client_for_its_health(build, digest):
    """Of an image in docker's format, as OCI's knows no HEALTHCHECK; such a one is never the same twice."""
    build("docker", "--format", "docker")
    assert config_of("docker", "Docker")["Healthcheck"]["Test"] == ["CMD", "/opt/holdfast/bin/holdfast", "health"]


def test_the_chart_s_pod_runs_from_it_and_is_healthy_by_its_own_client(rootfs, node_with, victim):
    node = node_with(root=Root(rootfs))
    before = adj(victim)
    container = node.start()
    node.passes("readinessProbe", container)
    until(700, lambda: adj(victim), container)
    assert node.inside("health").returncode == 0
    assert node.inside("restore").returncode == 0
    assert adj(victim) == before
    assert node.terminate(container) == 0


def test_the_distroless_target_leads_to_the_interpreter_of_its_base(build):
    build("distroless", "--target", "distroless")
    container = buildah("from", "--pull-never", "localhost/holdfast-test:distroless")
    try:
        run = ["run", "--isolation", "chroot", container, "--"]
        said = buildah(*run, "/opt/holdfast/bin/holdfast", "--version")
        compiled = buildah(*run, PYTHON, "-c", COMPILED)
    finally:
        buildah("rm", container)
    assert said.startswith("holdfast ")
    assert compiled == "True True"
