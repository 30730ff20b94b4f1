import asyncio

from good import BROKEN
from holdfast.plugin import plugin


@plugin(BROKEN, "plugin")
async def broken(context):
    asyncio.get_running_loop().call_later(0.1, asyncio.get_running_loop().stop)
    yield
