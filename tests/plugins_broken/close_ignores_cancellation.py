import asyncio

from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin")
async def broken(context):
    yield
    while True:
        try:
            await asyncio.Event().wait()  # HERE
        except asyncio.CancelledError:
            pass
