import asyncio

from good import BROKEN, Service
from holdfast.plugin import plugin


async def job():
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task  # HERE


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    context.background("sample", job)
    yield Service("broken.v1.Service")
