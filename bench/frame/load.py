"""The same asyncio client for every server: how many calls a second, how late the slowest, how much CPU of theirs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import grpc

from bench.frame.side import METADATA, cpu_ns


@dataclass(frozen=True, slots=True)
class Slice:
    """One server's work in one slice of time."""

    calls_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_call: float


class Load:
    """A channel to one server; ``slice`` keeps ``concurrency`` calls in flight for a while."""

    def __init__(self, address: str, pid: int, method: str) -> None:
        self._pid = pid
        self._channel = grpc.aio.insecure_channel(f"unix:{address}", [("grpc.use_local_subchannel_pool", 1)])
        self._call = self._channel.unary_unary(method)

    async def slice(self, concurrency: int, seconds: float) -> Slice:
        """Call as fast as it answers."""
        late: list[float] = []
        cpu, began = cpu_ns(self._pid), time.perf_counter()
        until = began + seconds

        async def worker() -> None:
            start = time.perf_counter()
            while start < until:
                await self._call(b"", metadata=METADATA)
                now = time.perf_counter()
                late.append(now - start)
                start = now

        await asyncio.gather(*(worker() for _ in range(concurrency)))
        took = time.perf_counter() - began
        late.sort()
        used_us = (cpu_ns(self._pid) - cpu) / 1000
        p50, p99 = late[len(late) // 2], late[min(len(late) - 1, int(len(late) * 0.99))]
        return Slice(len(late) / took, p50 * 1000, p99 * 1000, used_us / len(late))

    async def close(self) -> None:
        await self._channel.close()
