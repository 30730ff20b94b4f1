"""churn KIND WORKERS [ARGUMENT]: events of processes, groups and memory, as fast as so many workers can make them.

forks                a child that ends at once, again and again
chains               a child that forks the next one and ends: no two have the same parent
execs PROGRAM        PROGRAM in a child, again and again; it ends at once
exec-chains PROGRAM  the same, and each time by a child of another parent
renames NAME         a process that calls itself NAME, then otherwise, in a loop
short-renames NAME   children that do it once and end
groups FOLDER        groups made and removed in the delegated FOLDER, below some hundreds that stay
heirs NAME           a process that calls itself NAME, so that a rule holds for it, and then forks in a loop
heir-chains NAME     the same, but each child forks the next one and ends
heir-crowds NAME     the same with some children, each of which forks in a loop
drifts NAME          a process of that NAME, with children, that writes its own value over a rule's in a loop
memory FOLDER        children in the group FOLDER that take more memory than it may have
"""

import ctypes
import itertools
import os
import select
import sys

import stranger

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_CHILD_SUBREAPER, SIGKILL = 1, 4, 15, 36, 9
STANDING = 300
CHILDREN = 200
CROWD = 8
prctl = ctypes.CDLL(None).prctl


def forks() -> None:
    while True:
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)


def chains() -> None:
    _each_by_another(lambda: None)


def execs(program: str) -> None:
    while True:
        os.waitpid(os.posix_spawn(program, [program], {}), 0)


def exec_chains(program: str) -> None:
    _each_by_another(lambda: os.waitpid(os.posix_spawn(program, [program], {}), 0))


def renames(name: str) -> None:
    while True:
        prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
        prctl(PR_SET_NAME, b"otherwise", 0, 0, 0)


def short_renames(name: str) -> None:
    while True:
        child = os.fork()
        if not child:
            prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
            os._exit(0)
        os.waitpid(child, 0)


def heirs(name: str) -> None:
    prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
    forks()


def heir_chains(name: str) -> None:
    prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
    chains()


def heir_crowds(name: str) -> None:
    prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
    for _ in range(CROWD):
        if not os.fork():
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
            forks()
    os.wait()


def drifts(name: str) -> None:
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or its files are root's, as it was root's process
    prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
    for _ in range(CHILDREN):
        if not os.fork():
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
            prctl(PR_SET_NAME, b"hf-child", 0, 0, 0)
            select.select([], [], [])
    with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
        for number in itertools.count():
            file.write(b"%d" % (600 + number % 300))
            prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
            while int(os.pread(file.fileno(), 8, 0)) != 500:  # until it is the rule's again
                select.select([], [], [], 0.001)


def groups(folder: str) -> None:
    mine = f"{folder}/{os.getpid()}"
    os.mkdir(mine)
    for number in range(STANDING):
        os.mkdir(f"{mine}/{number}")
    for number in itertools.count():
        os.mkdir(f"{mine}/new-{number}")
        os.rmdir(f"{mine}/new-{number}")


def memory(_: str) -> None:
    while True:
        child = os.fork()
        if not child:
            prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or its files are root's, as it was root's process
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")  # the child is killed, and not who starts the next one
            taken = bytearray(1 << 30)
            for at in range(0, len(taken), 4096):
                taken[at] = 1
            os._exit(0)
        os.waitpid(child, 0)


def _each_by_another(act) -> None:
    """Act in a child, which forks the next one and ends, for as long as this process is there, which reaps them."""
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    alive, held = os.pipe()
    if os.fork():
        os.close(alive)
        while True:
            os.wait()
    os.close(held)
    while not select.select([alive], [], [], 0)[0]:
        act()
        if os.fork():
            os._exit(0)
    os._exit(0)


def main(kind: str, workers: str, *arguments: str) -> None:
    if kind == "memory":  # as a login or a runtime does it
        with open(f"{arguments[0]}/cgroup.procs", "w") as file:
            file.write("0")
    stranger.become()
    work = globals()[kind.replace("-", "_")]
    for _ in range(int(workers)):
        if not os.fork():
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
            work(*arguments)
    stranger.at_work()
    while True:
        os.wait()


main(*sys.argv[1:])
