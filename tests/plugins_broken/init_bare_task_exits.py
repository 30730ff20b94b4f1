import asyncio
import sys

from good import BROKEN
from holdfast.plugin import plugin


async def leave():
    sys.exit("a task of its own")


@plugin(BROKEN, "plugin")
async def broken(context):
    context.exports["task"] = asyncio.create_task(leave())
    yield
