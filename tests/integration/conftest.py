"""Groups and processes of a test's own. Test cgroups are called ``holdfast-test-*``."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
import uuid

import pytest
from holdfast.cgroups import UNIFIED, detect
from holdfast.errors import KernelRefused, ProcessGone

from tests.integration.node_kit import NAME, Running
from tests.running import PATIENCE_S, until

LIMIT_BYTES = 48 * 2**20
EATER = """
import os, sys
open(sys.argv[1], 'w').write(str(os.getpid()))
open('/proc/self/comm', 'w').write(sys.argv[2])
print('ready', flush=True)
sys.stdin.readline()
eaten = [bytearray(2**20) for _ in range(int(sys.argv[3]))]
print('eaten', flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def hierarchy():
    found = detect("/proc", "/sys/fs/cgroup")
    yield found
    found.close()


def remove_tree(tree, path):
    """Remove a test's groups bottom up; what still lives in them goes to the root.

    Others may be at them, too: an engine that still runs, systemd, and the kernel, where a process is just ending.
    """
    until(lambda: is_removed(tree, path), f"{path} can be removed")


def is_removed(tree, path):
    try:
        if not tree.exists(path) or not all(is_removed(tree, child) for child in tree.children(path)):
            return not tree.exists(path)
        for pid in tree.members(path):
            with contextlib.suppress(ProcessGone):
                tree.join("/", pid)
        return tree.remove(path)
    except KernelRefused:  # somebody else removed it
        return not tree.exists(path)


@pytest.fixture
def group(hierarchy):
    """The path of a group that does not exist yet; whatever is made at or below it goes when the test ends."""
    path = f"/holdfast-test-{uuid.uuid4().hex[:8]}"
    yield path
    for tree in hierarchy.trees.values():
        remove_tree(tree, path)


def until_asleep(pid):
    """Popen returns within the exec, before the kernel reports it: wait until the program itself waits."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] == b"S":
                return
        os.sched_yield()
    raise AssertionError(f"{pid} does not come to rest")


@pytest.fixture
def sleeper():
    """Starts processes that wait until the test ends."""
    started = []

    def start(*command):
        process = subprocess.Popen(command or ("sleep", "600"), stdin=subprocess.DEVNULL)
        started.append(process)
        until_asleep(process.pid)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def program(tmp_path):
    """A copy of sleep(1) under a name no other process of the machine has."""
    path = tmp_path / NAME
    shutil.copy(shutil.which("sleep"), path)
    return str(path)


@pytest.fixture
def run(tmp_path):
    """Starts engines, each with a journal in the test's directory; they stop when the test ends."""
    started = []

    def start(*given, **options):
        engine = Running(tmp_path, *given, **options)
        started.append(engine)
        return engine

    yield start
    for engine in started:
        engine.stop()


@pytest.fixture
def memory(hierarchy, group):
    """The path of a group below another one that has the limit, and the tree."""
    tree = hierarchy.tree(hierarchy.name_of("memory"))
    tree.create(f"{group}/inner", ["memory"] if tree.name == UNIFIED else ())
    if tree.name == UNIFIED:
        tree.write(group, "memory.max", str(LIMIT_BYTES))
        tree.write(group, "memory.oom.group", "0")
    else:
        tree.write(group, "memory.limit_in_bytes", str(LIMIT_BYTES))
    return tree, group, f"{group}/inner"


@pytest.fixture
def eater(memory):
    started = []
    tree, _, inner = memory

    def start(comm, mebibytes):
        command = [sys.executable, "-c", EATER, f"{tree.at(inner)}/cgroup.procs", comm, str(mebibytes)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


class SmallDisk:
    """A file system of 64 KiB, which can be filled."""

    def __init__(self, at):
        self.at = at
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", at], check=True)

    def fill(self):
        with open(self.at / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def empty(self):
        (self.at / "filler").unlink()

    def remove(self):
        subprocess.run(["umount", "-l", self.at], check=True)


@pytest.fixture
def disk(tmp_path):
    """A small disk, for the journal of an engine (``root``)."""
    (tmp_path / "disk").mkdir()
    made = SmallDisk(tmp_path / "disk")
    yield made
    made.remove()
