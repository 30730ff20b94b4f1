import os
import subprocess
import sys
import uuid

import pytest
from holdfast.errors import KernelRefused, ProcessGone
from holdfast.process import ProcRoot, read_boot_id, start_ticks_of

from tests.running import descriptors

HOSTILE = b"77 (foo) Z 1 (x)) S 1 77 77 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 2 18446744073709551615\n"
RUN = "print(flush=True); input()"  # Popen returns within the exec, when there are no arguments to be read yet


@pytest.fixture
def proc():
    with ProcRoot("/proc") as root:
        yield root


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_start_ticks_are_found_behind_a_name_that_looks_like_fields():
    assert start_ticks_of(HOSTILE) == 4711


def test_the_boot_id_is_a_uuid_that_stays():
    assert str(uuid.UUID(read_boot_id("/proc"))) == read_boot_id("/proc")


def test_a_missing_boot_id_names_the_file(tmp_path):
    with pytest.raises(KernelRefused, match=rf"^read {tmp_path}/sys/kernel/random/boot_id: no such file or directory$"):
        read_boot_id(str(tmp_path))


def test_an_open_process_reads_its_own_files(proc, child):
    with proc.open(child.pid) as process:
        assert process.pid == child.pid
        assert process.start_ticks() == start_ticks_of(process.read("stat")) > 0
        assert process.read("cmdline").split(b"\0")[1] == b"-c"
        assert process.link("exe") == os.path.realpath(sys.executable)


def test_a_file_longer_than_one_read_comes_whole(proc):
    words = ["x" * 100] * 200
    process = subprocess.Popen([sys.executable, "-c", RUN, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        with proc.open(process.pid) as opened:
            assert opened.read("cmdline") == b"\0".join(
                [sys.executable.encode(), b"-c", RUN.encode(), *(w.encode() for w in words), b""]
            )
    finally:
        process.kill()
        process.communicate()


def test_a_number_nobody_has_is_gone(proc):
    with pytest.raises(ProcessGone):
        proc.open(2**22 + 1)


def test_a_reaped_process_is_gone_for_every_access(proc, child):
    with proc.open(child.pid) as process:
        child.kill()
        child.wait()
        for act in (lambda: process.read("stat"), lambda: process.write("oom_score_adj", b"1")):
            with pytest.raises(ProcessGone):
                act()
        assert process.is_reaped()


def test_a_refused_write_says_what_where_and_why(proc, child):
    with proc.open(child.pid) as process, pytest.raises(KernelRefused) as caught:
        process.write("oom_score_adj", b"1001")
    assert str(caught.value) == f"write /proc/{child.pid}/oom_score_adj: invalid argument"


def test_a_text_is_read_once_and_the_last_look_reads_again(proc, child):
    with proc.open(child.pid) as process:
        assert process.text("oom_score_adj") == b"0\n"
        assert process.exchange("oom_score_adj", b"7") == b"7\n"
        assert (process.text("oom_score_adj"), process.last_look("oom_score_adj")) == (b"0\n", b"7\n")


def test_a_process_that_was_handed_over_is_closed_here_and_open_there(proc, child):
    files = f"/proc/{child.pid}"
    with proc.open(child.pid) as process:
        process.text("cgroup")
        other = process.hand_over()
        with pytest.raises(KernelRefused, match="bad file descriptor"):
            process.read("stat")
    assert len(descriptors(files)) == 2, "the directory and the file"
    assert other.last_look("cgroup") == other.read("cgroup")
    other.close_files()
    assert len(descriptors(files)) == 1
    assert other.last_look("cgroup") == other.read("cgroup")
    other.close()
    assert descriptors(files) == set()


def test_descriptors_are_given_back(proc, child):
    files = f"/proc/{child.pid}"
    for _ in range(20):
        with proc.open(child.pid) as process:
            process.read("stat")
            assert descriptors(files), "they are told by these names"
    assert descriptors(files) == set()


def test_the_groups_of_threads_are_read_where_there_is_more_than_one(proc, child):
    with proc.open(child.pid) as process:
        assert not process.has_threads()
        assert list(process.thread_groups()) == []
    code = f"import threading; threading.Thread(target=input).start(); {RUN}"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as threaded:
        threaded.stdout.readline()
        with proc.open(threaded.pid) as process:
            assert process.has_threads()
            assert list(process.thread_groups()) == [process.read("cgroup")] * 2
            threaded.communicate(b"\n\n")
            with pytest.raises(ProcessGone):
                process.has_threads()
            with pytest.raises(ProcessGone):
                list(process.thread_groups())
