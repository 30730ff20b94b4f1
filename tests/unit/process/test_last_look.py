import _thread
import os
import subprocess
import sys
import threading

import pytest
from holdfast.errors import ProcessGone
from holdfast.process import ProcRoot, last_look

LONG = 16 * 2**20


@pytest.fixture
def file(tmp_path):
    def make(text):
        (tmp_path / "file").write_bytes(text)
        return os.open(tmp_path / "file", os.O_RDWR)

    opened = []
    yield lambda text: opened.append(make(text)) or opened[-1]
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.parametrize("page", [4096, 16384, 65536])
@pytest.mark.parametrize("beside", [-1, 0, 1])
@pytest.mark.parametrize("pages", [0, 1, 3])
def test_a_record_of_any_length_is_read_whole_again_and_again(file, page, pages, beside):
    """Whatever the size of the kernel's pages: a text may end at one, and next to it."""
    text = os.urandom(max(0, pages * page + beside))
    descriptor = file(text)
    assert [last_look.pread(descriptor) for _ in range(3)] == [text] * 3


def test_why_it_cannot_be_read_is_said():
    with pytest.raises(OSError, match="Bad file descriptor"):
        last_look.pread(-1)


def test_a_text_is_replaced_only_if_it_is_the_one_that_was_expected(file):
    descriptor = file(b"300\n")
    assert not last_look.replace(descriptor, b"30\n", b"7")
    assert not last_look.replace(descriptor, b"300\n1", b"7")
    assert last_look.pread(descriptor) == b"300\n"
    assert last_look.replace(descriptor, b"300\n", b"700\n")
    assert last_look.pread(descriptor) == b"700\n"
    with pytest.raises(OSError, match="Bad file descriptor"):
        last_look.replace(-1, b"700\n", b"7")


def test_no_other_thread_runs_during_the_look(file, monkeypatch):
    descriptor, turns, stop, ended = file(b""), [0], threading.Event(), threading.Event()
    os.truncate(descriptor, LONG)  # so that the read takes milliseconds
    monkeypatch.setattr(last_look, "_PAGE", 2 * LONG)
    monkeypatch.setattr(last_look, "_buffer", last_look._Buffer())

    def spin():
        while not stop.is_set():
            turns[0] += 1
        ended.set()

    before = sys.getswitchinterval()
    try:
        # A thread that waits for the interpreter asks for it after so long, whoever has it: all looks take less.
        sys.setswitchinterval(30)
        _thread.start_new_thread(spin, ())  # threading's start would wait for it, and let it run
        for _ in range(10):
            assert (len(last_look.pread(descriptor)), turns) == (LONG, [0])
        sys.setswitchinterval(before)
        while turns == [0]:  # os.pread does let it run, if not every time
            os.pread(descriptor, LONG, 0)
    finally:
        sys.setswitchinterval(before)
        stop.set()
        ended.wait()


def test_a_process_that_ended_is_gone_whoever_has_its_number(tmp_path):
    process = subprocess.Popen(["sleep", "600"])
    with ProcRoot("/proc") as proc, proc.open(process.pid) as opened:
        assert opened.last_look("cgroup") == opened.read("cgroup")
        assert opened.last_look("oom_score_adj") == opened.peek("oom_score_adj")
        assert opened.exchange("oom_score_adj", b"300") == b"300\n"  # though it was opened for reading first
        assert opened.last_look("oom_score_adj") == b"300\n"
        process.kill()
        process.wait()
        for name in ("oom_score_adj", "cgroup"):
            with pytest.raises(ProcessGone):
                opened.last_look(name)
