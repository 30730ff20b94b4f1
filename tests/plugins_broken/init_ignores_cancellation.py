import asyncio

from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    while True:
        try:
            await asyncio.Event().wait()  # HERE
        except asyncio.CancelledError:
            pass
    yield
