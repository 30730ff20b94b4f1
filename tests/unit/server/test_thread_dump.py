import asyncio
import os
import re
import stat
import tempfile
import threading

import pytest
from holdfast.server import thread_dump
from holdfast.server.tasks import Tasks

from tests.unit.rpc.serving import SERVICE, handler, serving, text


async def test_threads_and_tasks_are_shown_by_name_with_where_they_are():
    async def waiting_for_godot():
        await asyncio.Event().wait()

    task = asyncio.create_task(waiting_for_godot(), name="estragon")
    await asyncio.sleep(0)
    words = thread_dump.text()
    task.cancel()
    assert f"thread {threading.current_thread().name} (" in words
    assert "in test_threads_and_tasks_are_shown_by_name_with_where_they_are\n    words = thread_dump.text()\n" in words
    assert "task estragon:\n" in words
    assert "in waiting_for_godot\n    await asyncio.Event().wait()\n" in words


async def test_a_job_is_shown_with_its_age_and_all_that_it_awaits():
    async def inner():
        await asyncio.Event().wait()

    async def outer():
        await inner()

    async with Tasks() as tasks:
        tasks.start("io.test.v1.x", "sample", outer)
        await asyncio.sleep(0)
        words = thread_dump.tasks()
    (shown,) = re.findall(r"^task io\.test\.v1\.x/sample for \d+\.\d{3}s:\n((?:  .*\n)+)", words, re.MULTILINE)
    assert re.findall(r", in (\w+)$", shown, re.MULTILINE)[-3:] == ["outer", "inner", "wait"]


async def test_a_call_is_shown_with_its_method_and_age(short_dir):
    began = asyncio.Event()

    async def hangs(request, context):
        began.set()
        await asyncio.Event().wait()

    async with serving(short_dir, {"M": handler("unary", hangs)}) as served:
        call = served.method("unary", "M")(text(""))
        await began.wait()
        words = thread_dump.tasks()
        call.cancel()
    (shown,) = re.findall(rf"^task \S+ /{SERVICE}/M for \d+\.\d{{3}}s:\n((?:  .*\n)+)", words, re.MULTILINE)
    assert ", in hangs\n" in shown


def test_a_frame_without_a_line_number_is_shown_without_one():
    """A coroutine that Cython compiled has a frame whose ``f_lineno`` is None."""

    class Code:
        co_filename = "server.pyx.pxi"
        co_name = "_server_main_loop"

    class Frame:
        f_code = Code
        f_lineno = None

    assert thread_dump._line(Frame()) == '  File "server.pyx.pxi", line ?, in _server_main_loop\n'


@pytest.mark.parametrize("trap", ["link", "pipe", "file"])
def test_a_dump_goes_into_a_file_of_its_own_whatever_waits_there(tmp_path, monkeypatch, trap):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    victim, path = tmp_path / "victim", tmp_path / f"holdfast.{os.getpid()}.stacks.log"
    victim.write_text("kept")
    {"link": lambda: path.symlink_to(victim), "pipe": lambda: os.mkfifo(path), "file": path.touch}[trap]()
    for _ in range(2):
        assert thread_dump.write() == str(path)
        assert stat.S_ISREG(path.lstat().st_mode)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert "thread " in path.read_text()
    assert victim.read_text() == "kept"


def test_a_file_that_comes_between_removal_and_creation_is_not_written_to(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "unlink", lambda path: None)  # it is there again at once
    victim = tmp_path / "victim"
    victim.write_text("kept")
    os.link(victim, tmp_path / f"holdfast.{os.getpid()}.stacks.log")
    thread_dump.write()
    assert victim.read_text() == "kept"
    assert "stack dump not written" in caplog.text
