import asyncio

from good import BROKEN, Service
from holdfast.plugin import plugin


async def fail():
    raise ValueError("torn")  # HERE


async def job():
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    context.background("sample", job)
    yield Service("broken.v1.Service")
