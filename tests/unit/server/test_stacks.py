import asyncio
import threading

from holdfast.server import stacks


async def test_threads_and_tasks_are_shown_by_name_with_where_they_are():
    async def waiting_for_godot():
        await asyncio.Event().wait()

    task = asyncio.create_task(waiting_for_godot(), name="estragon")
    await asyncio.sleep(0)
    words = stacks.text()
    task.cancel()
    assert f"thread {threading.current_thread().name} (" in words
    assert "in test_threads_and_tasks_are_shown_by_name_with_where_they_are\n    words = stacks.text()\n" in words
    assert "task estragon:\n" in words
    assert "in waiting_for_godot\n    await asyncio.Event().wait()\n" in words


def test_a_frame_without_a_line_number_is_shown_without_one():
    """A coroutine that Cython compiled has a frame whose ``f_lineno`` is None."""

    class Code:
        co_filename = "server.pyx.pxi"
        co_name = "_server_main_loop"

    class Frame:
        f_code = Code
        f_lineno = None

    assert stacks._line(Frame()) == '  File "server.pyx.pxi", line ?, in _server_main_loop\n'
