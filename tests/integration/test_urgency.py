"""The engine's thread at the real scheduler."""

import contextlib
import ctypes
import os
import platform
import struct
from pathlib import Path

import pytest
from holdfast.node.engine import scheduling as urgency

pytestmark = pytest.mark.root

ATTR = struct.Struct("=IIQiIQQQ")
GET = {"x86_64": 315, "aarch64": 275}  # sched_getattr(2)


def attributes(thread):
    """Policy, nice and slice of a thread, as the kernel has them.

    Raises:
        ProcessLookupError: it has ended.
    """
    said = ctypes.create_string_buffer(ATTR.size)
    if ctypes.CDLL(None, use_errno=True).syscall(GET[platform.machine()], thread, said, ATTR.size, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _, policy, _, nice, _, slice_ns, _, _ = ATTR.unpack(said.raw)
    return policy, nice, slice_ns


def may_be_nicer():
    """CAP_SYS_NICE."""
    status = Path("/proc/self/status").read_text()
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) >> 23 & 1)


def version():
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


def test_the_engine_s_thread_asks_for_a_short_slice_and_no_other_thread_does(run):
    engine = run()
    engine.sweep()
    tasks = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread of an earlier test that just ended
            tasks[int(task.name)] = ((task / "comm").read_text().strip(), attributes(int(task.name)))
    (ours,) = (thread for thread, (name, _) in tasks.items() if name == "hf-engine")
    policy, nice, slice_ns = tasks[ours][1]
    assert (policy, nice) == (os.SCHED_OTHER, urgency.NICE if may_be_nicer() else 0)
    assert slice_ns == urgency.SLICE_NS or version() < (6, 12)
    others = {found[1:] for thread, (_, found) in tasks.items() if thread != ours}
    assert all(nice != urgency.NICE and slice_ns != urgency.SLICE_NS for nice, slice_ns in others)
