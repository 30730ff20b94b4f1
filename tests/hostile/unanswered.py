"""A process whose command line cannot be read: reading it waits for a lock that is never released.

    python unanswered.py FOLDER NAME [COUNT]

The parent mounts a FUSE file system at FOLDER/mount, as fusermount3 does for any user, and answers every request but
the reads after the first two. Each of COUNT children becomes uid 65534, takes NAME for its name and maps a file of it;
one of its threads touches the file and so waits with the lock of the process's memory, another one asks for more memory
and so waits for that lock, and after that every reader of ``/proc/PID/cmdline`` waits behind it. The parent
signals each when, tries whether it is so, and only then has the child take NAME and say ``hangs PID``. On SIGUSR1 the
reads are answered after all; on SIGTERM everything ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import sys
import threading
import time

NOBODY = 65534
WAITS_S = 0.3  # a read of a command line that takes so long waits for the lock
ANSWERED_READS = 2  # these let the lock go; the next one is made with it
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long]
READ, PRIVATE, ANONYMOUS = 1, 2, 0x20
SIZE = 1 << 20
INIT, LOOKUP, GETATTR, OPEN, READS, FORGETS = 26, 1, 3, 14, 15, (2, 36, 42)


def attributes(node: int, mode: int) -> bytes:
    return struct.pack("<6Q10I", node, SIZE, SIZE // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def serve(fuse: int, withheld: dict[int, int], held: dict[int, threading.Event]) -> None:
    """Answer the kernel (linux/fuse.h) until the file system is gone; ``withheld``: sizes of reads that are not.

    ``held`` are set, by node, when one is not.
    """
    reads: dict[int, int] = {}
    while True:
        try:
            request = os.read(fuse, 1 << 20)
        except OSError:
            return
        _, operation, unique, node = struct.unpack("<IIQQ", request[:24])

        def answer(body: bytes = b"", error: int = 0, unique: int = unique) -> None:
            os.write(fuse, struct.pack("<IiQ", 16 + len(body), error, unique) + body)

        if operation == INIT:
            answer(struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 16, 16, 65536, 1, 16, 0, 0, *[0] * 7))
        elif operation == LOOKUP:  # a file for each name there is
            name = int(request[40:].rstrip(b"\0"))
            answer(struct.pack("<4QII", name, 0, 3600, 3600, 0, 0) + attributes(name, 0o100644))
        elif operation == GETATTR:
            answer(struct.pack("<QII", 3600, 0, 0) + attributes(node, 0o40755 if node == 1 else 0o100644))
        elif operation == OPEN:
            answer(struct.pack("<QII", 0, 0, 0))
        elif operation == READS:
            reads[node] = reads.get(node, 0) + 1
            if reads[node] <= ANSWERED_READS:
                answer(error=-5)
            else:
                withheld[unique] = struct.unpack("<QQI", request[40:60])[2]
                held[node].set()
        elif operation not in FORGETS:
            answer(error=-38)


class Child:
    """One of them, and the four pipes by which it and its parent say what is next."""

    def __init__(self) -> None:
        self.ready, self.touch, self.ask, self.take_name = (os.pipe() for _ in range(4))
        self.pid = 0

    def hang(self, folder: str, name: str, number: int) -> None:
        """Become the process; this does not return. A process that waits in a read of a pipe needs no memory."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        file = os.open(f"{folder}/mount/{number}", os.O_RDONLY)
        mapped = LIBC.mmap(None, SIZE, READ, PRIVATE, file, 0)
        into = ctypes.create_string_buffer(1)
        called = name.encode()
        said = b"hangs %d\n" % os.getpid()

        def touch() -> None:
            os.read(self.touch[0], 1)
            LIBC.memcpy(into, ctypes.c_void_p(mapped), 1)

        def ask() -> None:
            os.read(self.ask[0], 1)
            LIBC.mmap(None, 4096, READ, PRIVATE | ANONYMOUS, -1, 0)

        for work in (touch, ask):
            threading.Thread(target=work, daemon=True).start()
        LIBC.prctl(15, b"unanswered", 0, 0, 0)  # what is called below is in memory
        os.write(self.ready[1], b"x")
        os.read(self.take_name[0], 1)
        LIBC.prctl(15, called, 0, 0, 0)  # PR_SET_NAME: now a rule may ask for its command line
        os.write(1, said)
        while True:
            signal.pause()

    def conduct(self, held: threading.Event) -> None:
        """Signal it when; ``held``: its read is not answered."""
        os.read(self.ready[0], 1)
        os.write(self.touch[1], b"x")
        held.wait()
        os.write(self.ask[1], b"x")
        while self._is_readable():
            time.sleep(0.01)
        os.write(self.take_name[1], b"x")

    def _is_readable(self) -> bool:
        def read() -> None:
            with contextlib.suppress(OSError), open(f"/proc/{self.pid}/cmdline", "rb") as file:
                file.read()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        while True:
            reader.join(WAITS_S)
            if not reader.is_alive():
                return True
            with contextlib.suppress(OSError), open(f"/proc/self/task/{reader.native_id}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "D":  # one that is only slow waits for a processor
                    return False


def main(folder: str, name: str, count: int = 1) -> None:
    os.makedirs(f"{folder}/mount", exist_ok=True)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other"
    if LIBC.mount(b"unanswered", f"{folder}/mount".encode(), b"fuse.unanswered", 0, options.encode()):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    children = [Child() for _ in range(count)]
    withheld: dict[int, int] = {}
    held = {number: threading.Event() for number in range(2, 2 + count)}
    for number, child in zip(held, children, strict=True):
        child.pid = os.fork()
        if not child.pid:
            os.close(fuse)
            child.hang(folder, name, number)
    threading.Thread(target=serve, args=(fuse, withheld, held), daemon=True).start()
    for number, child in zip(held, children, strict=True):
        threading.Thread(target=child.conduct, args=(held[number],), daemon=True).start()

    def answer(*_: object) -> None:
        while withheld:
            unique, size = withheld.popitem()
            os.write(fuse, struct.pack("<IiQ", 16 + size, 0, unique) + bytes(size))

    def end(*_: object) -> None:
        with contextlib.suppress(OSError):
            os.close(fuse)  # what waits for an answer gets an error
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        LIBC.umount2(f"{folder}/mount".encode(), 2)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR1, answer)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
