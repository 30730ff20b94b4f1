"""Keys, and top on a real pseudo-terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.cli.terminal import keys_of

from tests.fakes.answering import answering
from tests.running import PATIENCE_S, Running


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA", ["up"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F", ["page up", "page down", "home", "end"]),
        (b"\r\n\x7f\x08\t", ["enter", "enter", "backspace", "backspace", "tab"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[15;5~q", ["q"]),
        (b"\x1b[<0;1;1Mq", ["q"]),
        ("é漢".encode(), ["é", "漢"]),
        (b"\xff\x00\x01q", ["q"]),
        (b"\x1b[", []),
        (b"", []),
    ],
)
def test_keys_have_names_and_what_is_no_key_is_dropped(sent, keys):
    assert list(keys_of(sent)) == keys


@pytest.fixture
def daemon(tmp_path):
    with answering(f"unix:{tmp_path}/s") as answers:
        answers.address = f"{tmp_path}/s"
        answers.endless = {"Watch"}
        answers.by_method["ListPlacements"] = pb.ListPlacementsResponse(
            placements=[pb.PlacementInfo(pid=pid, comm="po\x1b[2Jst", rule="r", state="held") for pid in range(1, 101)]
        )
        yield answers


def environ(term="xterm"):
    return {**os.environ, "PYTHONPATH": ":".join(sys.path), "TERM": term, "COLUMNS": "", "LINES": ""}


class OnTerminal:
    """A command on a pseudo-terminal of 80 columns and 24 lines."""

    def __init__(self, daemon, term="xterm"):
        self.ours, theirs = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self.ours)
        command = [sys.executable, "-m", "holdfast", "top", "--every", "0.2", "-a", daemon.address]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ(term), start_new_session=True
        )
        os.close(theirs)
        self.said = b""

    def resize(self, columns, lines):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def frame(self):
        """The lines of the latest frame that is complete."""
        frames = re.findall(rb"\x1b\[H(.*?)\x1b\[K\x1b\[J", self.said, re.DOTALL)
        text = frames[-1].decode() if frames else ""
        return text.replace("\x1b[7m", "").replace("\x1b[0m", "").replace("\x1b[K", "").split("\r\n")

    def until(self, holds, what):
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"never: {what}\n" + "\n".join(self.frame)
            if select.select([self.ours], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self.ours, 65536)
                except OSError:  # it has closed the terminal, and ends
                    self.process.wait(PATIENCE_S)
                    assert holds(), f"ended before: {what}\n{self.said!r}"

    def press(self, keys):
        os.write(self.ours, keys)

    def ended(self):
        self.until(lambda: self.process.poll() is not None, "its end")
        return self.process.returncode


@pytest.fixture
def top(daemon):
    made = OnTerminal(daemon)
    yield made
    made.process.kill()
    made.process.wait()
    os.close(made.ours)


def test_top_is_a_screen_of_24_lines_that_keys_change(top, daemon):
    top.until(lambda: len(top.frame) == 24, "the first frame")
    assert top.frame[2].startswith("[1 processes]")
    assert b"\x1b[2J" not in top.said.replace(b"\\x1b[2J", b""), "a name drives the terminal"
    assert top.frame[4].split()[:2] == ["1", "po\\x1b[2Jst"]
    top.press(b"\x1b[6~")
    top.until(lambda: top.frame[4].split()[:1] == ["19"], "the next page")
    top.press(b"sr")
    top.until(lambda: "19-37/100 by pid↓" in top.frame[2], "another order")
    top.press(b"3")
    top.until(lambda: "[3 rules]" in top.frame[2], "the rules")
    daemon.by_method["ListRules"] = pb.ListRulesResponse(rules=[pb.RuleInfo(name="fresh")])
    top.until(lambda: top.frame[4].startswith("fresh"), "the next answer")
    top.press(b"p")
    top.until(lambda: "PAUSED" in top.frame[2], "a pause")
    top.resize(100, 30)
    top.until(lambda: {len(top.frame), *map(len, top.frame)} == {30, 100}, "the new size")
    top.press(b"/x")
    top.until(lambda: top.frame[-1].startswith("filter: x_"), "the filter")
    top.press(b"\x1b")
    top.until(lambda: top.frame[-1].startswith("q quit"), "the end of the filter")
    top.press(b"q")
    assert top.ended() == 0
    assert top.said.rstrip().endswith(b"\x1b[?25h\x1b[?1049l")
    assert termios.tcgetattr(top.ours) == top.before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_terminal_as_it_was(top, number, code):
    top.until(lambda: len(top.frame) == 24, "the first frame")
    os.kill(top.process.pid, number)
    assert top.ended() == code
    assert b"\x1b[?1049l" in top.said
    assert termios.tcgetattr(top.ours) == top.before


def test_a_daemon_that_ends_is_one_line_after_the_screen(top, daemon):
    import grpc

    top.until(lambda: len(top.frame) == 24, "the first frame")
    daemon.refusal = grpc.StatusCode.UNAVAILABLE, "gone"
    assert top.ended() == 3
    assert re.search(rb"\x1b\[\?1049lholdfast: .*: unavailable: gone\r\n$", top.said)


def test_a_dumb_terminal_gets_plain_lines(daemon):
    dumb = OnTerminal(daemon, term="dumb")
    try:
        dumb.until(lambda: dumb.said.count(b"processes\r\n") > 1, "the second update")
        assert b"\x1b" not in dumb.said
        assert max(map(len, dumb.said.decode().split("\r\n"))) <= 80
    finally:
        dumb.process.kill()
        dumb.process.wait()
        os.close(dumb.ours)


def test_a_pipe_gets_plain_lines(daemon):
    command = [sys.executable, "-m", "holdfast", "top", "--every", "0.2", "-a", daemon.address]
    with Running(command, env=environ()) as top:
        top.line("^processes$", after=1)
        assert not any("\x1b" in line for line in top.out)
