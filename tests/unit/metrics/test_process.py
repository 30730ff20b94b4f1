from __future__ import annotations

import os
import time

from holdfast.metrics import Registry
from holdfast.metrics.process import cpu_s, families, fields_of, start_time_s

from tests.running import until

STAT = (
    b"4242 (hold) fast) S 1 4242 4242 0 -1 4194304 1200 0 3 0 250 150 0 0 20 0 7 0 123400 104857600 2560 "
    b"18446744073709551615 1 1 0 0 0 0 0 4096 81923 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)


def test_the_name_may_hold_parentheses_and_spaces():
    assert fields_of(STAT)[:2] == [b"S", b"1"]


def test_times_are_seconds():
    ticks = os.sysconf("SC_CLK_TCK")
    assert cpu_s(fields_of(STAT)) == 400 / ticks
    assert start_time_s(fields_of(STAT), b"cpu 1 2 3\nbtime 1700000000\nprocesses 5\n") == 1700000000 + 123400 / ticks


def test_the_figures_are_read_below_the_root_that_is_given(tmp_path):
    (tmp_path / "self" / "fd").mkdir(parents=True)
    for number in range(4):
        (tmp_path / "self" / "fd" / str(number)).touch()
    (tmp_path / "self" / "stat").write_bytes(STAT)
    (tmp_path / "stat").write_text("btime 1700000000\n")
    values = {family.name: [value for _, value in family.values()] for family in families(str(tmp_path))}
    assert values["process_open_fds"] == [3]
    assert values["process_virtual_memory_bytes"] == [104857600]
    assert values["process_resident_memory_bytes"] == [2560 * os.sysconf("SC_PAGE_SIZE")]
    assert values["process_threads"] == [7]
    assert values["python_info"] == [1]


def test_the_real_figures_are_plausible():
    registry = Registry()
    registry.add(*families())

    def page() -> dict[str, str]:
        text = registry.text().decode()
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))

    def counts_descriptors() -> bool:
        return float(page()["process_open_fds"]) == len(os.listdir("/proc/self/fd")) - 1

    lines = page()
    assert 0 < float(lines["process_cpu_seconds_total"]) < 1e6
    assert 1e6 < float(lines["process_resident_memory_bytes"]) < float(lines["process_virtual_memory_bytes"])
    assert time.time() - 1e6 < float(lines["process_start_time_seconds"]) <= time.time() + 1
    until(counts_descriptors)  # not at a moment when another thread opens or closes one
