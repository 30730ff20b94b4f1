"""Processes that try to stop, slow or blind the engine, and an engine that is stopped: the daemon logs it and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.hostile import life_kit
from tests.hostile.life_kit import SERVICE, Daemon
from tests.integration.node_kit import adj_of
from tests.running import SLOW, Running, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(180 * SLOW)]
NAME = f"hf-l-{os.getpid()}"
ADJ = 300
RULE = {"name": "r", "match": {"comm": NAME, "cmdline": "*600*"}, "oom_score_adj": ADJ}
HERE = Path(__file__).parent


@pytest.fixture
def boot(short_dir):
    """Starts daemons with these rules; ``before`` is Python that runs in it first."""
    with ExitStack() as stack:

        def start(*rules: dict, before: str = "", env: dict[str, str] | None = None, **sections: dict) -> Daemon:
            config = life_kit.configuration(short_dir, list(rules), **sections)
            code = textwrap.dedent(before) + "\nfrom holdfast.__main__ import main\nmain()\n"
            command = [sys.executable, "-c", code, "run", "-c", config]
            running = stack.enter_context(Running(command, env={**life_kit.ENVIRON, **(env or {})}))
            running.line("successfully booted")
            return Daemon(short_dir, running)

        yield start


@pytest.fixture
def unanswered(short_dir):
    """Starts processes of ``NAME`` whose command line cannot be read; their pids."""
    with ExitStack() as stack:

        def start(count: int = 1) -> list[int]:
            folder = short_dir / "hang"
            folder.mkdir()
            running = stack.enter_context(
                Running([sys.executable, HERE / "unanswered.py", folder, NAME, str(count)], env=life_kit.ENVIRON)
            )
            return [int(running.line(r"hangs \d+", after=at).split()[1]) for at in range(count)]

        if not os.access("/dev/fuse", os.W_OK):
            pytest.skip("needs /dev/fuse")
        yield start


@pytest.fixture
def sleeper(short_dir):
    """Starts a process of ``NAME`` that the rule matches."""
    with ExitStack() as stack:

        def start() -> subprocess.Popen:
            process = stack.enter_context(subprocess.Popen([life_kit.program(short_dir, NAME), "600"]))
            stack.callback(process.kill)
            return process

        yield start


def test_processes_that_do_not_let_their_memory_be_read_stop_nothing(boot, unanswered, sleeper):
    daemon = boot(RULE)
    pids = unanswered(6)  # more than one user may make unreadable at once
    daemon.running.line("the memory of a process cannot be read")
    for _ in range(8):  # once a call for each thread of the pool, and one more
        assert daemon.ask("victims")[0] == 0
    assert daemon.ask("preview")[0] == 0
    status, words = daemon.ask("explain", str(pids[0]))
    assert status == 0
    assert "its command line is not known" in words
    process = sleeper()
    until(lambda: adj_of(process.pid) == ADJ, "the rule applied to who can be read")
    assert daemon.ask("health", SERVICE)[0] == 0
    assert daemon.metric("holdfast_placement_engine_up") == 1
    until(lambda: daemon.metric("holdfast_placement_unreadable_processes") == 4, "others are read that were only slow")

    def told() -> list[str]:
        return [line for line in daemon.running.err if "the memory of a process cannot be read" in line]

    assert sum(any(f"pid={pid} " in f"{line} " for pid in pids) for line in told()) == 4
    until(lambda: daemon.metric("holdfast_placement_unreadable_total") == len(told()), "each is counted")
    assert daemon.running.stop() == 0


def test_a_process_that_can_be_read_again_is_looked_at_again(boot, unanswered):
    rule = {"name": "r", "match": {"comm": NAME, "cmdline": "*unanswered*"}, "oom_score_adj": ADJ}
    daemon = boot(rule, placement={"rescan": "3600s"})  # it is looked at because it can be read
    (pid,) = unanswered()
    daemon.running.line("the memory of a process cannot be read")
    assert adj_of(pid) != ADJ
    until(lambda: daemon.metric("holdfast_placement_unreadable_processes") == 1, "counted")
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGUSR1)  # the file system answers
    until(lambda: adj_of(pid) == ADJ, "the rule applied")
    until(lambda: daemon.metric("holdfast_placement_unreadable_processes") == 0, "none is left")


def test_a_program_on_an_overlay_over_a_file_system_that_does_not_answer_stops_nothing(boot, short_dir, sleeper):
    if not os.access("/dev/fuse", os.W_OK) or "\toverlay\n" not in Path("/proc/filesystems").read_text():
        pytest.skip("needs /dev/fuse and overlays")
    folder, name = short_dir / "over", f"hf-o-{os.getpid()}"
    folder.mkdir()
    short_dir.chmod(0o711)  # the user runs a program in it
    match = {"exe": f"{folder}/overlay/{name}", "user": 65534}
    daemon = boot(RULE, {"name": "over", "match": match, "oom_score_adj": {"at_most": -500}})
    with Running([sys.executable, HERE / "overlaid.py", folder, name], env=life_kit.ENVIRON) as attack:
        pid = int(attack.line(r"runs \d+").split()[1])
        assert daemon.ask("victims")[0] == 0
        status, words = daemon.ask("explain", str(pid))
        assert status == 0
        assert "on a file system that is not among the host's" in words
        process = sleeper()
        until(lambda: adj_of(process.pid) == ADJ, "the rule applied")
        assert "asked" not in attack.out


BROKEN = """
    from holdfast.node.engine import loop
    def turn(self):
        raise ZeroDivisionError("a mistake")
    import os
    take = loop.Loop._turn
    loop.Loop._turn = lambda self: turn(self) if os.path.exists({flag!r}) else take(self)
"""


def test_an_engine_that_fails_in_every_turn_ends_the_daemon_with_one_line(boot, short_dir):
    flag = short_dir / "broken"
    daemon = boot(RULE, before=BROKEN.format(flag=str(flag)))
    assert daemon.ask("health", SERVICE)[0] == 0
    flag.touch()
    assert daemon.running.end() == 1
    assert daemon.running.err[-1] == "holdfast: the placement engine ended: ZeroDivisionError: a mistake: unavailable"


#: An engine that only waits for a processor must not be taken for one that hangs.
HANGS_S = 3 * SLOW
HUNG = """
    import os
    from holdfast.node.engine import engine, loop
    from holdfast.plugins.node.placement import plugin as placement
    engine.HANGS_S, placement.BEAT_S, placement.GIVEN_UP_S = {hangs_s}, 0.1, {given_up_s}
    take = loop.Loop._turn
    def turn(self):
        if os.path.exists({fifo!r}):
            open({fifo!r}).read()
        take(self)
    loop.Loop._turn = turn
"""


def test_an_engine_that_hangs_is_said_everywhere_until_it_goes_on(boot, short_dir):
    fifo = short_dir / "fifo"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(short_dir / "notify"))
        watched = {"NOTIFY_SOCKET": str(short_dir / "notify"), "WATCHDOG_USEC": "100000"}
        daemon = boot(RULE, before=HUNG.format(fifo=str(fifo), hangs_s=HANGS_S, given_up_s=3600), env=watched)
        fed: list[bytes] = []
        threading.Thread(target=lambda: fed.extend(iter(lambda: systemd.recv(4096), b"")), daemon=True).start()
        until(lambda: b"WATCHDOG=1" in fed, "the watchdog is fed")
        os.mkfifo(fifo)
        daemon.running.line("placement engine hangs")
        until(lambda: daemon.ask("health", SERVICE)[0] == 1, "not serving")
        before = len(fed)
        assert daemon.ask("health")[0] == 1  # takes ten times as long as the watchdog is fed in
        assert len(fed) == before
        systemd.shutdown(socket.SHUT_RD)
    listed = daemon.ask("plugins", "ls", "id==rules")[1]
    assert "error" in listed
    for words in (("ps",), ("rules",), ("restore",)):
        status, said = daemon.ask(*words)
        assert (status, "hung for" in said) == (1, True), said
    assert daemon.metric("holdfast_placement_engine_up") == 0
    assert daemon.ask("victims")[0] == 0, "what does not ask the engine is answered"
    with open(fifo, "w"):
        fifo.unlink()
    until(lambda: daemon.ask("health", SERVICE)[0] == 0, "well again")
    assert daemon.metric("holdfast_placement_engine_up") == 1
    assert daemon.ask("ps")[0] == 0


def test_an_engine_that_hangs_for_good_ends_the_daemon_with_one_line(boot, short_dir):
    fifo = short_dir / "fifo"
    daemon = boot(RULE, before=HUNG.format(fifo=str(fifo), hangs_s=HANGS_S, given_up_s=2 * HANGS_S))
    os.mkfifo(fifo)
    assert daemon.running.end() == 1
    assert "the placement engine has hung for" in daemon.running.err[-1]


def test_sigterm_ends_a_daemon_whose_engine_hangs(boot, short_dir):
    fifo = short_dir / "fifo"
    daemon = boot(RULE, before=HUNG.format(fifo=str(fifo), hangs_s=HANGS_S, given_up_s=3600))
    os.mkfifo(fifo)
    daemon.running.line("placement engine hangs")
    assert daemon.running.stop() == 0
    daemon.running.line("this run restores nothing more")
