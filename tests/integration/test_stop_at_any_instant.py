"""SIGTERM at any instant of a start: the daemon ends at once with 0. ``HOLDFAST_SOAK=N`` makes it N times as long."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.peers.daemon import holdfast

pytestmark = pytest.mark.timeout(1200)
SOAK = int(os.environ.get("HOLDFAST_SOAK", "1"))
ROUNDS = 40
RULES = "io.holdfast.placement.v1.rules"


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    (mask,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def boot_s_of(folder: Path, config: Path) -> float:
    """Start a daemon until its configuration is kept, and end it; return the seconds until it was ready."""
    began = time.monotonic()
    with holdfast(folder, config, "--root", f"{folder}/root", "-l", "debug") as daemon:
        daemon.ready()
        boot_s = time.monotonic() - began
        daemon.line("last good configuration kept")
    return boot_s


def test_sigterm_at_any_instant_of_a_start_ends_it_with_0(short_dir):
    """Of a first start, of one over what another left, and of one with a broken file."""
    config = short_dir / "c.yaml"
    rule = {"name": "r", "match": {"comm": "hf-none"}, "oom_score_adj": 100}
    own = {
        "state": f"{short_dir}/state",
        "grpc": {"address": f"{short_dir}/s.sock"},
        "metrics": {"address": ""},
        "web": {"address": ""},
    }
    good = json.dumps({**own, "plugins": {RULES: {"dry_run": False, "rules": [rule]}}})
    config.write_text(good)
    boot_s = boot_s_of(short_dir, config)
    early = 0
    for at in range(ROUNDS * SOAK):
        config.write_text("plugins: [\n" if at % 4 == 3 else good)
        root = f"{short_dir}/first{at}" if at % 4 == 0 else f"{short_dir}/root"
        with holdfast(short_dir, config, "--root", root) as daemon:
            assert not daemon.ended(random.uniform(0, 1.1 * boot_s)), daemon.said
            is_caught = catches(daemon.pid, signal.SIGTERM)
            asked = time.monotonic()
            status = daemon.stop()
            took_s = time.monotonic() - asked
            # Until Python itself has started there is nobody to catch it.
            assert status == 0 or (not is_caught and status == -signal.SIGTERM), daemon.said
            if took_s >= 1 + boot_s:  # a loaded machine takes longer for everything: for a whole start, too
                config.write_text(good)
                boot_s = max(boot_s, boot_s_of(short_dir, config))
            assert took_s < 1 + boot_s, daemon.said
            assert not [line for line in daemon.err if "Traceback" in line], daemon.said
            early += status != 0
    assert early < ROUNDS * SOAK / 2
