from good import BROKEN, Service
from holdfast.plugin import plugin


class Odd(BaseException):
    pass


async def job():
    raise Odd("in a job")  # HERE


@plugin(BROKEN, "plugin", services=["broken.v1.Service"])
async def broken(context):
    context.background("sample", job)
    yield Service("broken.v1.Service")
