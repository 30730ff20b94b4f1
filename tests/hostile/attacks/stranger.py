"""The beginning of every attack here: become a user without rights, and say when the attack is at work."""

import encodings.idna  # noqa: F401 - before our interpreter cannot be read any more
import os
import resource

NOBODY = 65534


def become(uid: int = NOBODY, descriptors: int = 20_000) -> None:
    """Give up every right of root, for good; with room for many connections of our own."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(descriptors, hard), hard))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def at_work() -> None:
    """Report to the test, which waits for it."""
    print("at work", flush=True)
