"""The process's own figures under the names every Prometheus client library uses, read at scrape from procfs.

https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics; proc(5).
"""

from __future__ import annotations

import gc
import os
import platform
import resource
from collections.abc import Callable, Iterable

from holdfast.metrics.family import Counter, Gauge

Reading = Iterable[tuple[tuple[str, ...], float]]
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ReadCounter(Counter):
    """A counter whose value somebody else keeps."""

    def __init__(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        self._read_value = read
        super().__init__(name, help_text)

    def samples(self):  # type: ignore[no-untyped-def]
        """The value now."""
        self.labels().value = self._read_value()
        return super().samples()


def families(proc_root: str = "/proc") -> list[Counter]:
    """CPU, memory, descriptors, start time, and the interpreter's collector."""

    def stat() -> list[str]:
        # 4242 (holdfast) S 1 …: the name may hold anything, so count from the last parenthesis
        with open(f"{proc_root}/self/stat") as file:
            return file.read().rpartition(")")[2].split()

    def boot_time() -> float:
        with open(f"{proc_root}/stat") as file:
            return next(float(line.split()[1]) for line in file if line.startswith("btime"))

    started = boot_time() + int(stat()[19]) / _TICKS

    def gauge(name: str, text: str, read: Callable[[], float]) -> Gauge:
        return Gauge(name, text, read=lambda: [((), read())])

    return [
        ReadCounter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            lambda: sum(map(int, stat()[11:13])) / _TICKS,
        ),
        gauge("process_open_fds", "Number of open file descriptors.", lambda: len(os.listdir(f"{proc_root}/self/fd"))),
        gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            lambda: float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        ),
        gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", lambda: int(stat()[20])),
        gauge("process_resident_memory_bytes", "Resident memory size in bytes.", lambda: int(stat()[21]) * _PAGE),
        gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", lambda: started),
        ReadCounter(
            "python_gc_collections_total",
            "Number of times the cyclic collector ran, all generations.",
            lambda: sum(generation["collections"] for generation in gc.get_stats()),
        ),
        Gauge(
            "python_info",
            "Python platform information.",
            ["implementation", "version"],
            read=lambda: [((platform.python_implementation(), platform.python_version()), 1)],
        ),
    ]
