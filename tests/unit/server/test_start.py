import asyncio
from contextlib import AsyncExitStack

import pytest
from holdfast.config import Settings
from holdfast.errors import BootError, SkipPlugin
from holdfast.metrics import Registry
from holdfast.plugin import InitContext, Kind, PluginSet, State, plugin
from holdfast.plugin.context import Places
from holdfast.plugin.serving import ServingBoard
from holdfast.server.blocked import BlockWatch
from holdfast.server.start import check_required, start
from holdfast.server.tasks import Tasks

A = Kind("io.test.a.v1")


class Daemon:
    def __init__(self, tasks):
        self.run_in_background = tasks.start
        self.fault = lambda *given, **options: None
        self.wait_for = self.call_on_reload = None


async def started(init, limit_s=30.0, then=None):
    registration = plugin(A, "x")(init)
    async with Tasks() as tasks, AsyncExitStack() as stack:
        context = InitContext(
            registration,
            None,
            Settings(),
            Places("/r", "/s", "a", "a.ttrpc"),
            PluginSet(),
            Registry(),
            ServingBoard(),
            Daemon(tasks),
        )
        outcome = await start(registration, context, stack, tasks, limit_s, BlockWatch())
        if then is not None:
            await then()
    return outcome


async def test_a_plugin_is_ready_with_what_it_yielded_and_closed_at_the_end():
    steps = []

    async def init(context):
        context.exports["key"] = "value"
        steps.append("open")
        yield "instance"
        steps.append("close")

    async def then():
        steps.append("serving")

    outcome = await started(init, then=then)
    assert (outcome.state, outcome.instance, outcome.exports) == (State.READY, "instance", {"key": "value"})
    assert steps == ["open", "serving", "close"]


async def test_a_skip_is_not_a_failure():
    async def init(context):
        raise SkipPlugin("no btrfs here")
        yield

    outcome = await started(init)
    assert (outcome.state, str(outcome.error)) == (State.SKIPPED, "no btrfs here: skip plugin")


@pytest.mark.parametrize("error", [ValueError("torn"), TimeoutError("its own"), ExceptionGroup("g", [ValueError("x")])])
async def test_whatever_an_init_raises_is_a_failure_with_that_error(error):
    async def init(context):
        raise error
        yield

    outcome = await started(init)
    assert (outcome.state, outcome.error) == (State.FAILED, error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SystemExit(7), "it asked the process to exit with 7"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError(), "something that it awaited was cancelled"),
        (BaseExceptionGroup("g", [KeyboardInterrupt()]), "BaseExceptionGroup: g (1 sub-exception): KeyboardInterrupt"),
    ],
)
async def test_what_would_end_the_daemon_ends_the_plugin(error, words):
    async def init(context):
        raise error
        yield

    outcome = await started(init)
    assert (outcome.state, str(outcome.error), outcome.error.__cause__) == (State.FAILED, words, error)


async def test_a_stop_during_an_init_is_the_daemons_own():
    async def init(context):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)
        yield

    task = asyncio.ensure_future(started(init))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_init_that_hangs_is_failed_with_the_limit_named():
    async def init(context):
        await asyncio.Event().wait()
        yield

    outcome = await started(init, limit_s=0.01)
    assert outcome.state is State.FAILED
    assert str(outcome.error) == "init did not end within 0.01s: context deadline exceeded"


async def test_an_init_that_never_yields_is_a_failure():
    async def init(context):
        if context is None:
            yield

    assert (await started(init)).state is State.FAILED


async def test_background_jobs_end_before_the_plugin_closes_and_with_a_failed_init():
    steps = []

    async def job():
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("job ended")

    async def good(context):
        context.background("job", job)
        await asyncio.sleep(0)
        yield
        steps.append("closed")

    async def bad(context):
        context.background("job", job)
        await asyncio.sleep(0)
        raise ValueError
        yield

    await started(good)
    assert steps == ["job ended", "closed"]
    await started(bad)
    assert steps == ["job ended", "closed", "job ended"]


async def test_a_close_that_raises_does_not_stop_the_others():
    async def init(context):
        yield "instance"
        raise ValueError("torn")

    assert (await started(init)).state is State.READY


async def test_a_required_plugin_that_skips_ends_the_boot_with_its_words():
    async def init(context):
        raise SkipPlugin("no btrfs here")
        yield

    outcome = await started(init)
    check_required(outcome, {"io.test.a.v1.other"})
    with pytest.raises(BootError) as refused:
        check_required(outcome, {"io.test.a.v1.x"})
    assert str(refused.value) == "load required plugin io.test.a.v1.x: no btrfs here: skip plugin"
