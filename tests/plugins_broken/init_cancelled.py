import asyncio

from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task  # HERE
    yield
