"""Freed memory goes back to the kernel."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from holdfast.process.heap import give_back

def resident_kib():
    text = open("/proc/self/status").read()
    return int(text[text.index("RssAnon:") + 8:].split()[0])

pieces = [b"x" * 60_000 for _ in range(400)]  # below malloc's threshold for pages of their own
last = b"y" * 60_000
del pieces  # all of it free, and kept from the kernel by the piece that came after it
before = resident_kib()
give_back()
print(before - resident_kib())
"""


def test_freed_pages_between_used_ones_are_given_back():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 16 * 1024, "of the 23 MiB that were freed"


ARENAS = """
import sys, threading
from holdfast.process.heap import share_arena

if sys.argv[1] == "shared":
    share_arena()
barrier = threading.Barrier(4)

def allocate():
    kept = [b"x" * 5000 for _ in range(100)]
    barrier.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
lines = [line.split() for line in open("/proc/self/maps")]
ends = [line[0].split("-") for line in lines if line[1] == "---p"]
sizes = [int(end, 16) - int(start, 16) for start, end in ends]
print(sum(size > 60 << 20 for size in sizes))  # what an arena has set aside for itself
"""


def arenas(how):
    done = subprocess.run([sys.executable, "-c", ARENAS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_threads_share_one_arena():
    assert arenas("shared") == 0
    assert arenas("each its own") > 0, "or the other half says nothing"
