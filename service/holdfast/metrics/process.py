"""The process's own metrics under the names of all Prometheus client libraries, read from procfs at a scrape.

https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics; proc(5).
"""

from __future__ import annotations

import gc
import os
import platform
import resource
from collections.abc import Callable

from holdfast import kernel_text
from holdfast.metrics.family import Counter, Gauge, Read

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def families(proc_root: str = "/proc") -> list[Counter]:
    """Return the families: CPU, memory, descriptors, threads, start time, and the interpreter's collector."""
    return [*_process_families(proc_root), *_own_families()]


def _process_families(proc_root: str) -> list[Counter]:
    """Return the families that every client library has."""

    def stat() -> list[bytes]:
        return fields_of(kernel_text.read(f"{proc_root}/self/stat"))

    started = start_time_s(stat(), kernel_text.read(f"{proc_root}/stat"))
    return [
        Counter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            read=_one(lambda: cpu_s(stat())),
        ),
        Gauge(
            "process_open_fds",
            "Number of open file descriptors.",
            read=_one(lambda: len(os.listdir(f"{proc_root}/self/fd")) - 1),  # without the descriptor that lists them
        ),
        Gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            read=_one(lambda: float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])),
        ),
        Gauge(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            read=_one(lambda: int(stat()[20])),
        ),
        Gauge(
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            read=_one(_address_space),
        ),
        Gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            read=_one(lambda: int(stat()[21]) * _PAGE),
        ),
        Gauge("process_threads", "Number of operating system threads.", read=_one(lambda: int(stat()[17]))),
        Gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            read=_one(lambda: started),
        ),
    ]


def _own_families() -> list[Counter]:
    """Return the families of the kernel's text, and those of the interpreter."""
    return [
        Counter(
            "holdfast_kernel_text_refused_total",
            "Texts from the kernel that were not used, by reason: too_long, malformed.",
            ["reason"],
            read=lambda: [((reason,), number) for reason, number in sorted(kernel_text.refused.items())],
        ),
        Counter(
            "python_gc_collections_total",
            "Number of times this generation was collected.",
            ["generation"],
            read=lambda: [((str(number),), kind["collections"]) for number, kind in enumerate(gc.get_stats())],
        ),
        Gauge(
            "python_info",
            "Python platform information.",
            ["implementation", "version"],
            read=lambda: [((platform.python_implementation(), platform.python_version()), 1)],
        ),
    ]


def fields_of(stat: bytes) -> list[bytes]:
    """Return the fields of ``/proc/PID/stat`` from the third on; the index is proc(5)'s number minus 3.

    ``4242 (hold fast) S 1 …``: the name may hold any character, so the fields begin after the last parenthesis.
    """
    return kernel_text.words(stat.rpartition(b")")[2].rstrip(b"\n"))


def cpu_s(stat: list[bytes]) -> float:
    """Return user and system time in seconds."""
    return (int(stat[11]) + int(stat[12])) / _TICKS


def start_time_s(stat: list[bytes], machine: bytes) -> float:
    """Return the process's start, in seconds since 1970; ``machine`` is ``/proc/stat``, for its boot time."""
    # btime 1769980000
    boot = next(int(line[6:]) for line in kernel_text.lines(machine) if line.startswith(b"btime "))
    return boot + int(stat[19]) / _TICKS


def _address_space() -> float:
    """Return the limit in bytes; without one, the largest 64-bit number, as Go's library does."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return float(2**64 - 1 if limit == resource.RLIM_INFINITY else limit)


def _one(read: Callable[[], float]) -> Read:
    return lambda: [((), read())]
