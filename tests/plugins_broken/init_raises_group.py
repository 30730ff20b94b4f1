import asyncio

from good import BROKEN
from holdfast.plugin import plugin


async def fail():
    raise ValueError("torn")  # HERE


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
    yield
