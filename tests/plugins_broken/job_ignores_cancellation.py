import asyncio

from good import BROKEN
from holdfast.plugin import plugin


async def job():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass


@plugin(BROKEN, "plugin")
async def broken(context):
    context.background("sample", job)
    yield
