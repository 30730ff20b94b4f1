"""Content and its garbage collection, by real ctr, beside real containerd.

A write is ``ctr content ingest`` of one large blob in frames of 1 MiB; a read is one Read call of a Python client,
whose frames are 1 MiB too, and ``ctr content get``, which makes a call for every 32 KiB. Lists are ``ctr content ls
-q``; a collection is ``ctr leases rm --sync`` of a lease that held all the small blobs. ctr's own start is in its
figures. Memory is what the daemon's peak grows by while the large blob is written and read, and how much more that is
than for a blob of 64 MiB.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from holdfast.api.services.content.v1 import content_pb2 as api
from holdfast.api.services.content.v1.content_pb2_grpc import ContentStub

from bench.frame import figure

MIB = 1 << 20
CALLS_MIB = 64  # what is read in 32 KiB calls
AT_ONCE = 16  # small blobs under way while a store is filled
PLACE = Path(os.environ.get("TMPDIR", "/var/tmp"))  # a disk: /tmp may be memory

CONTAINERD = """
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{0}/s"
[plugins."io.containerd.internal.v1.opt"]
path = "{0}/opt"
"""


@dataclass(frozen=True, slots=True)
class Daemon:
    """One that serves ``address``."""

    address: str
    pid: int

    def ctr(self, *arguments: str, given: Path | None = None, taken: Path | None = None) -> float:
        """Run one command; how many seconds it took."""
        with ExitStack() as stack:
            stdin = stack.enter_context(given.open("rb")) if given else subprocess.DEVNULL
            stdout = stack.enter_context(taken.open("wb")) if taken else subprocess.DEVNULL
            began = time.perf_counter()
            subprocess.run(["ctr", "--address", self.address, *arguments], stdin=stdin, stdout=stdout, check=True)
            return time.perf_counter() - began

    def read(self, digest: str) -> float:
        """Read a blob in one call; how many seconds it took."""
        began = time.perf_counter()
        with grpc.insecure_channel(f"unix:{self.address}") as channel:
            request = api.ReadContentRequest(digest=digest)
            for _ in ContentStub(channel).Read(request, metadata=(("containerd-namespace", "default"),)):
                pass
        return time.perf_counter() - began

    def rss_mib(self, peak: bool = False) -> float:
        """Resident memory now, or at its most since the last peak was begun."""
        word = "VmHWM:" if peak else "VmRSS:"
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(word))

    def cpu_s(self) -> float:
        """Seconds of processor time so far, its own and the kernel's for it."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def growing(self) -> Iterator[list[float]]:
        """MiB that the peak of the block is above what was resident before; there when it has ended."""
        before = self.rss_mib()
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # begin a new peak (proc(5))
        grown: list[float] = []
        yield grown
        grown.append(self.rss_mib(peak=True) - before)


@contextmanager
def running(command: Sequence[str], folder: Path) -> Iterator[Daemon]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with grpc.insecure_channel(f"unix:{folder}/s") as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
        yield Daemon(f"{folder}/s", process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def both() -> Iterator[tuple[Daemon, Daemon, Path]]:
    """Ours, containerd, and a folder for files."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hf", dir=PLACE)))
        for name in ("h", "c"):
            (place / name).mkdir()
        (place / "c" / "config.toml").write_text(CONTAINERD.format(place / "c"))
        (place / "h" / "config.yaml").write_text("metrics: {address: ''}\nweb: {address: ''}\n")
        mine = [sys.executable, "-m", "holdfast", "run", "-c", f"{place}/h/config.yaml", "-l", "warn"]
        mine += ["--root", f"{place}/h/root", "--state", f"{place}/h/state", "-a", f"{place}/h/s"]
        ours = stack.enter_context(running(mine, place / "h"))
        theirs = stack.enter_context(running(["containerd", "-l", "warn", "-c", f"{place}/c/config.toml"], place / "c"))
        yield ours, theirs, place


def large(size_mib: int, path: Path, seed: int) -> str:
    """Write a file nobody has written yet; its digest."""
    block = os.urandom(MIB)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for number in range(size_mib):
            data = seed.to_bytes(8, signed=True) + number.to_bytes(8) + block[16:]
            digest.update(data)
            file.write(data)
    return f"sha256:{digest.hexdigest()}"


def rates(ours: Daemon, theirs: Daemon, place: Path, size_mib: int, rounds: int) -> list[figure.Figure]:
    source, nowhere = place / "source", Path("/dev/null")
    written: dict[str, list[float]] = {"ours": [], "peer": []}
    read: dict[str, list[float]] = {"ours": [], "peer": []}
    got: dict[str, list[float]] = {"ours": [], "peer": []}
    grown: dict[str, list[float]] = {"ours": [], "peer": []}
    beyond: list[float] = []
    for number in range(rounds):
        daemons = [("ours", ours), ("peer", theirs)]
        digest = large(CALLS_MIB, source, -1 - number)
        for name, daemon in daemons:
            with daemon.growing() as little:
                daemon.ctr("content", "ingest", "calls", given=source)
                daemon.read(digest)
            got[name].append(CALLS_MIB / daemon.ctr("content", "get", digest, taken=nowhere))
            daemon.ctr("content", "rm", digest)
            if daemon is ours:
                beyond.append(-little[0])
        digest = large(size_mib, source, number)
        for name, daemon in daemons[:: 1 if number % 2 else -1]:
            with daemon.growing() as much:
                written[name].append(size_mib / daemon.ctr("content", "ingest", "large", given=source))
                read[name].append(size_mib / daemon.read(digest))
            daemon.ctr("content", "rm", digest)
            grown[name].append(max(much[0], 0.1))
        beyond[-1] = max(0.0, beyond[-1] + grown["ours"][-1])
    frames, calls = f"{size_mib} MiB", f"{CALLS_MIB} MiB"
    made = [
        figure.Figure(f"content {what}", "MiB/s", samples["ours"], samples["peer"], "containerd", "higher", note, must)
        for what, samples, note, must in (
            ("write", written, frames, 0.5),
            ("read", read, frames, 0.5),
            ("read by ctr, 32 KiB calls", got, calls, None),
        )
    ]
    moved = figure.Figure("memory while it is moved", "MiB", grown["ours"], grown["peer"], "containerd", note=frames)
    constant = f"{frames} against {calls}"
    return [
        *made,
        moved,
        figure.Figure("memory a large blob takes beyond a small", "MiB", beyond, note=constant, must=16),
    ]


async def fill(daemon: Daemon, count: int) -> None:
    """``count`` small blobs under the lease ``bench``."""
    metadata = (("containerd-namespace", "default"), ("containerd-lease", "bench"))
    async with grpc.aio.insecure_channel(f"unix:{daemon.address}") as channel:
        stub, numbers = ContentStub(channel), iter(range(count))

        async def some() -> None:
            for number in numbers:
                data = b"small blob %d" % number
                call = stub.Write(metadata=metadata)
                await call.write(
                    api.WriteContentRequest(action=api.COMMIT, ref=f"small-{number}", total=len(data), data=data)
                )
                await call.read()
                await call.done_writing()

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def small(ours: Daemon, theirs: Daemon, count: int, rounds: int, lists: int) -> list[figure.Figure]:
    filled: dict[str, list[float]] = {"ours": [], "peer": []}
    listed: dict[str, list[float]] = {"ours": [], "peer": []}
    cost: dict[str, list[float]] = {"ours": [], "peer": []}
    collected: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(rounds):
        for name, daemon in (("ours", ours), ("peer", theirs)):
            daemon.ctr("leases", "create", "--id", "bench")
            began = time.perf_counter()
            asyncio.run(fill(daemon, count))
            filled[name].append(time.perf_counter() - began)
        before = {"ours": ours.cpu_s(), "peer": theirs.cpu_s()}
        measures = {
            name: lambda daemon=daemon: daemon.ctr("content", "ls", "-q")
            for name, daemon in (("ours", ours), ("peer", theirs))
        }
        for name, samples in figure.interleaved(measures, lists).items():
            listed[name] += samples
        for name, daemon in (("ours", ours), ("peer", theirs)):
            cost[name].append((daemon.cpu_s() - before[name]) * 1000 / lists)
        for name, daemon in (("ours", ours), ("peer", theirs)):
            collected[name].append(daemon.ctr("leases", "rm", "--sync", "bench"))
    note = f"{count:,} small blobs"
    made = [
        figure.Figure(what, "s", samples["ours"], samples["peer"], "containerd", note=note, must=must)
        for what, samples, must in (("fill", filled, None), ("list", listed, 2), ("collect", collected, 3))
    ]
    own = figure.Figure("list, the daemon's CPU", "ms", cost["ours"], cost["peer"], "containerd", note=note)
    return [*made, own]


def main(argv: Sequence[str]) -> int:
    given = figure.options(argv, __doc__)
    missing = [program for program in ("containerd", "ctr") if shutil.which(program) is None]
    if missing:
        print(f"bench: store: {', '.join(missing)} not installed", file=sys.stderr)
        return 1
    size_mib, count = (128, 500) if given.quick else (1024, 10_000)
    with both() as (ours, theirs, place):
        figures = rates(ours, theirs, place, size_mib, given.rounds(3))
        figures += small(ours, theirs, count, given.rounds(1, quick=1), lists=given.rounds(9, quick=3))
    return figure.publish("store", figures, given)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
