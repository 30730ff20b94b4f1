import asyncio

from holdfast.server.readiness import Readiness


async def test_nothing_pending_is_ready_at_once():
    assert list(await Readiness().all(1)) == []


async def test_the_boot_waits_for_every_plugin_that_asked():
    readiness = Readiness()
    first, second = readiness.wait_for("x", ""), readiness.wait_for("y", "sync")
    waiting = asyncio.ensure_future(readiness.all(30))
    await asyncio.sleep(0)
    first()
    first()
    await asyncio.sleep(0)
    assert not waiting.done()
    second()
    assert list(await waiting) == []


async def test_the_limit_names_the_plugin_and_what_it_waits_for():
    readiness = Readiness()
    readiness.wait_for("io.test.v1.x", "first sync")
    assert [(late.uri, late.what) for late in await readiness.all(0.001)] == [("io.test.v1.x", "first sync")]


async def test_one_that_is_ready_after_the_limit_tells_it():
    readiness, told = Readiness(), []
    done = readiness.wait_for("io.test.v1.x", "")
    (late,) = await readiness.all(0.001)
    late.on_end = lambda: told.append("ready")
    done()
    done()
    assert told == ["ready"]


def test_it_knows_who_asked_also_when_that_is_over():
    readiness = Readiness()
    readiness.wait_for("io.test.v1.x", "first sync")()
    assert (readiness.asked("io.test.v1.x"), readiness.asked("io.test.v1.y")) == (True, False)
