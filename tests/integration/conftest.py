"""What needs root: skipped, and said so, where there is none. Test cgroups are called ``holdfast-test-*``."""

import contextlib
import os
import subprocess
import uuid

import pytest
from holdfast.cgroups import detect
from holdfast.errors import ProcessGone


@pytest.fixture(autouse=True)
def _root(request):
    if request.node.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def hierarchy():
    found = detect("/proc", "/sys/fs/cgroup")
    yield found
    found.close()


def remove_tree(tree, path):
    """Remove a test's groups bottom up; what still lives in them goes to the root."""
    for child in tree.children(path):
        remove_tree(tree, child)
    if tree.exists(path):
        for pid in tree.members(path):
            with contextlib.suppress(ProcessGone):
                tree.join("/", pid)
        assert tree.remove(path), f"left behind: {path}"


@pytest.fixture
def group(hierarchy):
    """The path of a group that does not exist yet; whatever is made at or below it goes when the test ends."""
    path = f"/holdfast-test-{uuid.uuid4().hex[:8]}"
    yield path
    for tree in hierarchy.trees.values():
        remove_tree(tree, path)


@pytest.fixture
def sleeper():
    """Starts processes that wait until the test ends."""
    started = []

    def start(*command):
        process = subprocess.Popen(command or ("sleep", "600"), stdin=subprocess.DEVNULL)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
