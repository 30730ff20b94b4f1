"""What was freed goes back to the kernel."""

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
