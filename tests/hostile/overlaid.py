"""A process of uid 65534 whose program lies on an overlay over a FUSE file system that does not answer.

    python overlaid.py FOLDER NAME

In a mount namespace of its own, as any user makes one with a user namespace. The file system has a copy of sleep(1)
called NAME, and answers everything until the process runs it; then no question for attributes. It prints ``runs PID``
then, and ``asked`` for each question that it does not answer. On SIGTERM everything ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

from unanswered import FORGETS, GETATTR, INIT, LIBC, LOOKUP, NOBODY, OPEN, READS

CLONE_NEWNS = 0x20000
OPENDIR, STATFS, RELEASES = 27, 17, (18, 25, 29)
PROGRAM = 2


class FileSystem:
    """One folder with one file; ``silent``: it answers no question for attributes."""

    def __init__(self, fuse: int, name: bytes, content: bytes) -> None:
        self.silent = False
        self._fuse, self._name, self._content = fuse, name, content

    def serve(self) -> None:
        """Answer the kernel (linux/fuse.h) until the file system is gone."""
        while True:
            try:
                request = os.read(self._fuse, 1 << 20)
            except OSError:
                return
            _, operation, unique, node = struct.unpack("<IIQQ", request[:24])
            if self.silent and operation == GETATTR:
                os.write(1, b"asked\n")
            elif operation not in FORGETS:
                error, body = self._answer(operation, node, request[40:])
                with contextlib.suppress(OSError):
                    os.write(self._fuse, struct.pack("<IiQ", 16 + len(body), error, unique) + body)

    def _answer(self, operation: int, node: int, body: bytes) -> tuple[int, bytes]:
        answer, error = b"", 0
        if operation == INIT:
            answer = struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 16, 16, 65536, 1, 16, 0, 0, *[0] * 7)
        elif operation == LOOKUP and body.rstrip(b"\0") != self._name:
            error = -errno.ENOENT
        elif operation == LOOKUP:
            answer = struct.pack("<4QII", PROGRAM, 0, 3600, 0, 0, 0) + self._attributes(PROGRAM)
        elif operation == GETATTR:
            answer = struct.pack("<QII", 0, 0, 0) + self._attributes(node)
        elif operation in (OPEN, OPENDIR):
            answer = struct.pack("<QII", 0, 0, 0)
        elif operation == READS:
            offset, size = struct.unpack("<QI", body[8:20])
            answer = self._content[offset : offset + size]
        elif operation == STATFS:
            answer = struct.pack("<5QIIII6I", *[1000] * 5, 4096, 255, 4096, 0, *[0] * 6)
        elif operation not in RELEASES:
            error = -errno.ENOSYS
        return error, answer

    def _attributes(self, node: int) -> bytes:
        mode = 0o100755 if node == PROGRAM else 0o40755
        return struct.pack("<6Q10I", node, len(self._content), 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def main(folder: str, name: str) -> None:
    for part in ("fuse", "empty", "overlay"):
        os.makedirs(f"{folder}/{part}")
    if LIBC.unshare(CLONE_NEWNS):
        sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse},rootmode=40755,user_id=0,group_id=0,allow_other"
    if LIBC.mount(b"overlaid", f"{folder}/fuse".encode(), b"fuse.overlaid", 0, options.encode()):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    with open(shutil.which("sleep") or "/bin/sleep", "rb") as file:
        files = FileSystem(fuse, name.encode(), file.read())
    threading.Thread(target=files.serve, daemon=True).start()
    lower = f"lowerdir={folder}/fuse:{folder}/empty"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", lower, f"{folder}/overlay"], check=True)
    program = f"{folder}/overlay/{name}"
    child = os.fork()  # not by vfork(2): its exec waits for the thread above
    if not child:
        LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.execv(program, [name, "600"])

    def end(*_: object) -> None:
        with contextlib.suppress(OSError):
            os.close(fuse)  # what waits for an answer gets an error
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while os.readlink(f"/proc/{child}/exe") != program:
        time.sleep(0.01)
    files.silent = True
    os.write(1, b"runs %d\n" % child)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
