import asyncio
import sys

from good import BROKEN, Service
from holdfast.plugin import plugin


class Odd(BaseException):
    pass


async def raises(request, context):
    raise ValueError("torn")


async def exits(request, context):
    sys.exit("a handler")


async def interrupted(request, context):
    raise KeyboardInterrupt


async def odd(request, context):
    raise Odd("in a handler")


async def cancelled(request, context):
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task


async def wrong_type(request, context):
    return 5


async def refused(request, context):
    raise PermissionError(13, "Permission denied", "/secret")



async def group(request, context):
    raise ExceptionGroup("several", [ValueError("torn"), KeyError("lost")])


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    yield Service(
        "broken.v1.Service",
        Raises=raises,
        Exits=exits,
        Interrupted=interrupted,
        Odd=odd,
        Cancelled=cancelled,
        WrongType=wrong_type,
        Refused=refused,
        Group=group,
    )
